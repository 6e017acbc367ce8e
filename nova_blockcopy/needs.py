# SPDX-License-Identifier: Apache-2.0
"""The things outside of its disks that a guest needs on its host. Pure.

The guest takes most of its definition to the destination as it is. libvirt
would find out that something is missing only at the switchover.
"""

import dataclasses
from collections.abc import Iterable
from collections.abc import Iterator

from nova_blockcopy import domxml

#: Elements of <os> that name a file (libvirt's docs/formatdomain.rst).
_FILES = ('os/kernel', 'os/initrd', 'os/dtb', 'os/loader')
_CHARACTER_DEVICES = ('serial', 'parallel', 'console')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The needs of one guest.

    ``cpu`` is an XML element; empty if libvirt starts the guest without a
    comparison. ``links`` are network devices of the host, such as bridges.
    """

    emulator: str | None
    arch: str | None
    machine: str | None
    type: str | None
    cpu: str
    networks: tuple[str, ...]
    links: tuple[str, ...]
    files: tuple[str, ...]
    directories: tuple[str, ...]


def of(xml: str) -> Needs:
    """Read the needs from the XML of a running domain."""
    root = domxml.parse(xml)
    system = root.find('os/type')
    return Needs(
        emulator=root.findtext('devices/emulator'),
        arch=None if system is None else system.get('arch'),
        machine=None if system is None else system.get('machine'),
        type=root.get('type'),
        cpu=_cpu(root),
        networks=_unique(_sources(root, 'network', 'network')),
        links=_unique(
            (
                *_sources(root, 'bridge', 'bridge'),
                *_sources(root, 'direct', 'dev'),
            )
        ),
        files=_unique(map(root.findtext, _FILES)),
        directories=_unique(_directories(root)),
    )


def _cpu(root: domxml.Element) -> str:
    """The processor, if libvirt compares it with the host's at a start."""
    cpu = root.find('cpu')
    if cpu is None or cpu.get('check', 'none') == 'none':
        return ''
    return domxml.text(cpu)


def _sources(root: domxml.Element, kind: str, name: str) -> Iterator[str]:
    for interface in root.iterfind(f'devices/interface[@type="{kind}"]'):
        source = interface.find('source')
        if source is not None and source.get(name):
            yield source.get(name, '')


def _directories(root: domxml.Element) -> Iterator[str]:
    """Directories of the files and sockets that QEMU makes at a start."""
    for tag in _CHARACTER_DEVICES:
        for device in root.iterfind(f'devices/{tag}'):
            source = device.find('source')
            if source is None:
                continue
            makes = device.get('type') == 'file' or (
                device.get('type') == 'unix' and source.get('mode') == 'bind'
            )
            if makes and source.get('path'):
                yield source.get('path', '').rpartition('/')[0]


def _unique(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, values)))
