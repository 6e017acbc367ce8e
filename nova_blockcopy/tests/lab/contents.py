# SPDX-License-Identifier: Apache-2.0
"""The whole content of disks, read beside QEMU and compared.

A live domain names the source of each disk and the target of each copy. This
module reads both by separate programs. The caller first makes QEMU write out
all that it holds in memory.
"""

import contextlib
import dataclasses
import itertools
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import psutil
from lxml import etree

from nova_blockcopy import domxml
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.lab import host

#: Bytes that are compared at a time; a small chunk is counted quickly.
_CHUNK = 64 * 1024
_SAMPLE = 16
_EXPORT = 'content'
_READ = '1M'
_SECONDS = 120
_TICK = 0.01
_NBD_PORT = 10809

#: A block node, by the names of QMP's ``blockdev-add``.
Node = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The number of bytes that differ, and the first place.

    ``wanted`` and ``found`` are the first few bytes there. They show whether
    the target has zeroes or old data.
    """

    disk: str
    differing_bytes: int
    first_offset: int
    wanted: bytes
    found: bytes

    def __str__(self) -> str:
        return (
            f'{self.disk}: {self.differing_bytes} bytes differ, the first '
            f'at {self.first_offset}: {self.found.hex()} in place of '
            f'{self.wanted.hex()}'
        )


def sources(xml: str) -> dict[str, Node]:
    """Return a node for the guest-visible content of each disk, by target."""
    return {
        _target(disk): _node(disk, disk)
        for disk in domxml.parse(xml).iterfind('devices/disk')
        if disk.find('source') is not None
    }


def mirrors(xml: str) -> dict[str, Node]:
    """Return a node for the target of each disk's copy, with its chain."""
    found = {}
    for disk in domxml.parse(xml).iterfind('devices/disk'):
        mirror = disk.find('mirror')
        if mirror is not None:
            found[_target(disk)] = _node(mirror, mirror)
    return found


def _target(disk: etree._Element) -> str:
    found = disk.find('target')
    return '' if found is None else found.get('dev', '')


def _node(element: etree._Element, top: etree._Element) -> Node:
    """Return a node for one layer and all layers below.

    :param top: the element of the top layer, whose format may be in
        ``<driver>``
    """
    source = element.find('source')
    format_ = element.find('format')
    if format_ is None and element is top:
        format_ = element.find('driver')
    if source is None or format_ is None:
        raise ValueError(f'<{element.tag!r}> lacks its source or its format')
    node: Node = {
        'driver': format_.get('type'),
        'file': _protocol(element.get('type', ''), source),
    }
    slice_ = source.find('slices/slice')
    if slice_ is not None:
        node['file'] = {
            'driver': 'raw',
            'offset': int(slice_.get('offset', '0')),
            'size': int(slice_.get('size', '0')),
            'file': node['file'],
        }
    below = element.find('backingStore')
    if below is not None and below.find('source') is not None:
        node['backing'] = _node(below, top)
    elif node['driver'] == 'qcow2':
        # QEMU must not follow the header
        node['backing'] = None
    return node


def _protocol(type_: str, source: etree._Element) -> Node:
    if type_ == 'network':
        at = source.find('host')
        if source.get('protocol') != 'nbd' or at is None:
            raise ValueError(
                f'a source by {source.get("protocol")} is not supported'
            )
        return {
            'driver': 'nbd',
            'export': source.get('name'),
            'server': {
                'type': 'inet',
                'host': at.get('name'),
                'port': at.get('port', str(_NBD_PORT)),
            },
        }
    driver, path = {
        'file': ('file', source.get('file')),
        'block': ('host_device', source.get('dev')),
    }[type_]
    return {
        'driver': driver,
        'filename': path,
        'locking': 'off',
        # reads the disk, and not the page cache
        'cache': {'direct': True},
    }


def graph(node: Node) -> list[Node]:
    """Split a node into nodes that refer to each other, bottom one first.

    QEMU mixes the options of a backing node with the file name in the header
    above, unless the backing node is a reference (bdrv_open_backing_file()
    in block.c).
    """
    below = node.get('backing')
    found = graph(below) if below else []
    named = {**node, 'node-name': f'layer{len(found)}', 'read-only': True}
    if found:
        named['backing'] = found[-1]['node-name']
    return [*found, named]


def read(at: host.Host, node: Node, into: pathlib.Path) -> None:
    """Read every byte of a node on a host into a file.

    Holes are read like data, because a wrong hole is one of the faults to
    find.

    :param at: the host that reads
    :param into: the path of the file outside the host's namespaces
    """
    socket = into.with_suffix('.socket')
    with _served(at, graph(node), socket):
        at.run(
            *('qemu-img', 'dd', '-f', 'raw', '-O', 'raw', f'bs={_READ}'),
            *(f'if=nbd+unix:///{_EXPORT}?socket={socket}', f'of={into}'),
            timeout=_SECONDS,
        )


@contextlib.contextmanager
def _served(
    at: host.Host, nodes: list[Node], socket: pathlib.Path
) -> Iterator[None]:
    """Serve the last node over NBD at a unix socket, in a ``with`` block."""
    pid_file = socket.with_suffix('.pid')
    at.run(
        *('qemu-storage-daemon', '--daemonize', '--pidfile', str(pid_file)),
        *(
            argument
            for node in nodes
            for argument in ('--blockdev', json.dumps(node))
        ),
        *('--nbd-server', f'addr.type=unix,addr.path={socket}'),
        *(
            '--export',
            f'nbd,id=it,name={_EXPORT},node-name={nodes[-1]["node-name"]}',
        ),
    )
    try:
        yield
    finally:
        server = psutil.Process(int(pid_file.read_text()))
        server.kill()
        waiting.until(
            lambda: not _runs(server), timeout=_SECONDS, interval=_TICK
        )
        for path in (socket, pid_file):
            path.unlink(missing_ok=True)


def _runs(process: psutil.Process) -> bool:
    """Tell whether a process has its files open; a zombie has closed them."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def compare(
    disk: str, wanted: pathlib.Path, found: pathlib.Path
) -> Difference | None:
    """Compare two files byte for byte; None if they are equal.

    ``found`` may be longer, because LVM rounds a volume up to whole extents.
    If ``found`` is shorter, the missing bytes differ.
    """
    count = offset = 0
    first: tuple[int, bytes, bytes] | None = None
    with wanted.open('rb') as one, found.open('rb') as other:
        while expected := one.read(_CHUNK):
            present = other.read(len(expected))
            if present != expected:
                differing = [
                    at
                    for at, (a, b) in enumerate(
                        itertools.zip_longest(expected, present)
                    )
                    if a != b
                ]
                if first is None:
                    sample = slice(differing[0], differing[0] + _SAMPLE)
                    first = (
                        *(offset + differing[0], expected[sample]),
                        present[sample],
                    )
                count += len(differing)
            offset += len(expected)
    if first is None:
        return None
    return Difference(
        disk=disk,
        differing_bytes=count,
        first_offset=first[0],
        wanted=first[1],
        found=first[2],
    )
