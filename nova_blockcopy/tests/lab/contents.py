# SPDX-License-Identifier: Apache-2.0
"""Whole contents of disks: what they are read from, and how they differ.

A live domain says what each of its disks is read from, and what a copy of
it goes into. Both are read here beside QEMU, through programs of their own,
so whoever asks makes sure first that QEMU keeps nothing in its memory.
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

#: Small enough for a quick count of the bytes that differ.
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
    """How many bytes of two contents differ, and the first place of one.

    ``wanted`` and ``found`` are what is there, a few bytes of it: zeroes are
    another fault than what was there before.
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
    """By target, what a guest sees of its disks."""
    return {
        _target(disk): _node(disk, disk)
        for disk in domxml.parse(xml).iterfind('devices/disk')
        if disk.find('source') is not None
    }


def mirrors(xml: str) -> dict[str, Node]:
    """By target, what disks are being copied into, with what lies below."""
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
    """One layer and all below it.

    :param top: the same element for the top layer, whose format may be in
        ``<driver>``
    """
    source = element.find('source')
    format_ = element.find('format')
    if format_ is None and element is top:
        format_ = element.find('driver')
    if source is None or format_ is None:
        raise ValueError(f'it is not said what <{element.tag!r}> is')
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
        # whatever its header says
        node['backing'] = None
    return node


def _protocol(type_: str, source: etree._Element) -> Node:
    if type_ == 'network':
        at = source.find('host')
        if source.get('protocol') != 'nbd' or at is None:
            raise ValueError(f'a source of {source.get("protocol")} is new')
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
        # what is on the disk, and not what is in the page cache
        'cache': {'direct': True},
    }


def graph(node: Node) -> list[Node]:
    """The same as nodes that refer to each other, the bottom one first.

    QEMU mixes the options of a backing node with the file name in the header
    above, unless it is a reference (bdrv_open_backing_file() in block.c).
    """
    below = node.get('backing')
    found = graph(below) if below else []
    named = {**node, 'node-name': f'layer{len(found)}', 'read-only': True}
    if found:
        named['backing'] = found[-1]['node-name']
    return [*found, named]


def read(at: host.Host, node: Node, into: pathlib.Path) -> None:
    """Read every byte that a guest sees, as this host sees it.

    A hole is read like data, so that nobody has to be believed about where
    the holes are.

    :param into: a file, as named outside
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
    """Serve the last one of some nodes at a socket, which is there then."""
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
    """Whether it has anything open; who ended may be a zombie for long."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def compare(
    disk: str, wanted: pathlib.Path, found: pathlib.Path
) -> Difference | None:
    """Compare two contents byte for byte; None if they are equal.

    The second one may be longer, as a volume is that is made of extents;
    what it lacks differs.
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
