# SPDX-License-Identifier: Apache-2.0
"""Values that the unit tests begin with."""

import dataclasses
import pathlib
import sys
from typing import Any

from oslo_config import cfg

from nova_blockcopy import conf
from nova_blockcopy import events
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.records import journal

UUID = '11111111-2222-3333-4444-555555555555'
#: Starts the helper of oslo.privsep from this Python environment.
HELPER = (
    sys.executable,
    '-c',
    'from oslo_privsep import daemon; daemon.helper_main()',
)
BLOCK = model.ImageKind.BLOCK
FILE = model.ImageKind.FILE
RAW = model.ImageFormat.RAW
QCOW2 = model.ImageFormat.QCOW2


def settings(directory: pathlib.Path, **overrides: Any) -> conf.Settings:
    options = cfg.ConfigOpts()
    conf.register_opts(options)
    options([])
    values = {
        'journal_dir': str(directory / 'journal'),
        'allow_plaintext': True,
        'delta_dir': str(directory / 'deltas'),
        'delta_min_free': 1,
        'call_timeout': 10,
        **overrides,
    }
    made = conf.settings(options, **values)
    # shorter than may be configured, to lose no time in tests
    return dataclasses.replace(made, poll_interval=0.005)


def record(**changes: Any) -> journal.Record:
    values = {
        'migration': 'm1',
        'guest': UUID,
        'name': 'guest',
        'role': model.Role.SOURCE,
        'mode': model.Mode.DIRECT,
        'peer': 'b',
        'state': states.State.PREPARING,
        **changes,
    }
    return journal.Record(**values)


def image(
    path: str = '/dev/vg/root',
    kind: model.ImageKind = BLOCK,
    format_: model.ImageFormat = RAW,
    backing: model.Image | None = None,
) -> model.Image:
    return model.Image(path=path, kind=kind, format=format_, backing=backing)


def layered(top: str, below: str) -> model.Image:
    """A qcow2 file on top of a raw one."""
    return image(top, FILE, QCOW2, image(below, FILE))


def move(
    disk: str = 'vda',
    source: model.Image | None = None,
    base: model.Image | None = None,
) -> model.Move:
    return model.Move(
        disk=disk,
        source=source or image(f'/dev/old/{disk}'),
        base=base or image(f'/dev/new/{disk}'),
        size_bytes=1024,
    )


def export(
    disk: str = 'vda', port: int = 49216, **changes: Any
) -> model.Export:
    made = model.Export(
        disk=disk,
        address='192.0.2.1',
        port=port,
        name=f'export-of-{disk}',
        size_bytes=1024,
        pid=1,
    )
    return dataclasses.replace(made, **changes)


def content(disk: str = 'vda', port: int = 49316) -> model.Export:
    """What lies below the top layer of a disk."""
    return export(disk, port, name=f'content-of-{disk}', content=True)


def domain(*disks: str, name: str = 'guest', uuid: str = UUID) -> str:
    """A domain's XML around the XML of its disks."""
    return (
        f'<domain type="kvm"><name>{name}</name><uuid>{uuid}</uuid>'
        f'<memory unit="KiB">65536</memory>'
        f'<devices>{"".join(disks)}<console type="pty"/></devices></domain>'
    )


def disk_xml(
    target: str = 'vda',
    source: str = '<source dev="/dev/vg/root"/><backingStore/>',
    *,
    type_: str = 'block',
    device: str = 'disk',
    driver: str = '<driver name="qemu" type="raw" cache="none"/>',
    more: str = '',
) -> str:
    return (
        f'<disk type="{type_}" device="{device}">{driver}{source}'
        f'<target dev="{target}" bus="virtio"/>{more}</disk>'
    )


def file_xml(target: str, path: object, cache: str = 'none') -> str:
    """A raw file as a disk."""
    return disk_xml(
        target,
        f'<source file="{path}"/><backingStore/>',
        type_='file',
        driver=f'<driver name="qemu" type="raw" cache="{cache}"/>',
    )


def store_xml(below: model.Image | None) -> str:
    """The layers below an image, as libvirt shows them."""
    if below is None:
        return '<backingStore/>'
    attribute = {BLOCK: 'dev', FILE: 'file'}[below.kind]
    return (
        f'<backingStore type="{below.kind}"><format type="{below.format}"/>'
        f'<source {attribute}="{below.path}"/>{store_xml(below.backing)}'
        f'</backingStore>'
    )


def remote_xml(
    target: str = 'vda', below: model.Image | model.Export | None = None
) -> str:
    """A disk whose top layer is read over NBD.

    :param below: the next layer, over NBD as well if it is an export
    """
    if isinstance(below, model.Export):
        store = (
            f'<backingStore type="network"><format type="raw"/>'
            f'{_nbd_xml(below)}<backingStore/></backingStore>'
        )
    else:
        store = store_xml(below)
    return disk_xml(
        target,
        f'{_nbd_xml(export(target))}{store}',
        type_='network',
        driver='<driver name="qemu" type="qcow2"/>',
    )


def _nbd_xml(of: model.Export) -> str:
    return (
        f'<source protocol="nbd" name="{of.name}">'
        f'<host name="{of.address}" port="{of.port}"/></source>'
    )


def subject(name: str = 'guest') -> events.Subject:
    """A seeded migration from host-a to host-b, as the source sees it."""
    return events.Subject(
        migration='m1',
        guest=UUID,
        name=name,
        role=model.Role.SOURCE,
        mode=model.Mode.SEEDED,
        peer='host-b',
    )
