# SPDX-License-Identifier: Apache-2.0
"""Facts about the images of this host. Formats are declared, never probed."""

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import mmap
import os
import stat
import sys
import time
from collections.abc import Iterator
from collections.abc import Sequence
from typing import IO
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import command
from nova_blockcopy.runtime import privsep

#: Asks for the logical sectors of a block device (linux/fs.h).
_BLKSSZGET = 0x1268
_BOOT_ID = '/proc/sys/kernel/random/boot_id'
#: Seconds that qemu-img may take to read a header.
_HEADER_TIMEOUT = 30
#: Bytes that are read, and left out if they are zeroes, together.
_BLOCK = 64 * 1024
#: Bytes that extents of data are rounded to, and how many at most.
_GRAIN = 1024 * 1024
_MOST_EXTENTS = 65536


def kind(path: str) -> model.ImageKind:
    """What is at a path of this host.

    :raises ImageError: nothing, or neither a block device nor a file
    """
    mode = _stat(path).st_mode
    if stat.S_ISBLK(mode):
        return model.ImageKind.BLOCK
    if stat.S_ISREG(mode):
        return model.ImageKind.FILE
    raise exception.ImageError(
        path=path, reason='it is neither a block device nor a regular file.'
    )


def describe(path: str, format_: model.ImageFormat) -> model.Image:
    """An image of this host, with the chain that its header names.

    For images that this host's administrator made: a header that a guest
    can write is never trusted, so the format is the caller's to declare,
    and each header must declare the format of the layer below.

    :raises ImageError: it is missing, or leaves something to be guessed
    """
    below = None
    if format_ is model.ImageFormat.QCOW2:
        info = _info(path)
        backing = info.get('full-backing-filename')
        if backing is not None:
            below = describe(backing, _backing_format(path, info))
    return model.Image(
        path=path, kind=kind(path), format=format_, backing=below
    )


def _backing_format(path: str, info: dict[str, Any]) -> model.ImageFormat:
    try:
        return model.ImageFormat(info.get('backing-filename-format', ''))
    except ValueError:
        raise exception.ImageError(
            path=path,
            reason='its header does not declare the format of its backing '
            'file as raw or qcow2; set it with "qemu-img rebase -u -F".',
        ) from None


def size(image: model.Image) -> int:
    """Bytes that a guest sees of an image.

    :raises ImageError: it cannot be read
    """
    if image.format is model.ImageFormat.QCOW2:
        return int(_info(image.path)['virtual-size'])
    return length(image.path)


@privsep.entrypoint
def length(path: str) -> int:
    """Bytes of a file or a block device of this host."""
    with reading(path), open(path, 'rb') as f:
        return f.seek(0, os.SEEK_END)


@privsep.entrypoint
def alignment(path: str) -> int:
    """Bytes to whose multiples QEMU may have to align direct writes.

    Those of a file depend on its file system; QEMU probes for them, and does
    not go above a page (raw_probe_alignment, block/file-posix.c).

    :raises ImageError: it cannot be read
    """
    with reading(path), open(path, 'rb') as f:
        if not stat.S_ISBLK(os.fstat(f.fileno()).st_mode):
            return mmap.PAGESIZE
        size = fcntl.ioctl(f, _BLKSSZGET, bytes(4))
    return int.from_bytes(size, sys.byteorder)


def cluster(image: model.Image) -> int:
    """Bytes of a cluster of a qcow2; 0 for a raw image.

    :raises ImageError: it cannot be read
    """
    if image.format is model.ImageFormat.RAW:
        return 0
    return int(_info(image.path)['cluster-size'])


def identity(path: str) -> model.ImageIdentity:
    """What tells whether two paths lead to the same bytes."""
    found = _stat(path)
    with open(_BOOT_ID, encoding='ascii') as f:
        boot = f.read().strip()
    if stat.S_ISBLK(found.st_mode):
        return model.ImageIdentity(boot=boot, device=found.st_rdev, inode=0)
    return model.ImageIdentity(
        boot=boot, device=found.st_dev, inode=found.st_ino
    )


def digest(image: model.Image | None) -> str | None:
    """A checksum over all layers of an image, top one first.

    It is over what is read, so a hole is the same as zeroes.

    :returns: SHA-256 in hexadecimal; None for no image
    :raises ImageError: a layer cannot be read
    """
    if image is None:
        return None
    return _digest([layer.path for layer in model.chain(image)])


@privsep.entrypoint
def _digest(paths: Sequence[str]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(length(path).to_bytes(8))
        with reading(path), open(path, 'rb') as f:
            for offset, block in _filled_blocks(f):
                total.update(offset.to_bytes(8) + block)
    return total.hexdigest()


def _filled_blocks(f: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The blocks that are not all zeroes, with their offsets."""
    zeroes = bytes(_BLOCK)
    offset = 0
    while (data := _next_data(f, offset)) is not None:
        hole = f.seek(data, os.SEEK_HOLE)
        offset = f.seek(data - data % _BLOCK)
        while offset < hole:
            block = f.read(_BLOCK)
            if block != zeroes[: len(block)]:
                yield offset, block
            offset += _BLOCK
            # where threads are green, the others are let in
            time.sleep(0)


def _next_data(f: IO[bytes], offset: int) -> int | None:
    """Where the next data begins; None if nothing but a hole is left."""
    try:
        return f.seek(offset, os.SEEK_DATA)
    except OSError as e:
        if e.errno == errno.ENXIO:
            return None
        raise


def data_extents(path: str) -> tuple[model.Extent, ...]:
    """Where a file has data; a block device has it everywhere.

    What lies close together is one extent.

    :raises ImageError: it cannot be read
    """
    if kind(path) is model.ImageKind.BLOCK:
        return (model.Extent(offset=0, length=length(path)),)
    found: list[model.Extent] = []
    for first, end in _data(path):
        if found and found[-1].offset + found[-1].length >= first:
            first = found.pop().offset
        found.append(model.Extent(offset=first, length=end - first))
    return tuple(found)


@privsep.entrypoint
def _data(path: str) -> Sequence[tuple[int, int]]:
    """Where a file's data begins and ends, roughly."""
    size = length(path)
    grain = max(_GRAIN, -(-size // _MOST_EXTENTS // _GRAIN) * _GRAIN)
    found, offset = [], 0
    with open(path, 'rb') as f:
        while offset < size and (data := _next_data(f, offset)) is not None:
            hole = f.seek(data, os.SEEK_HOLE)
            offset = min(size, -(-hole // grain) * grain)
            found.append((data - data % grain, offset))
    return found


def holders(path: str) -> tuple[str, ...]:
    """Who has an image of this host open, in words.

    Processes are found by their descriptors; what the kernel itself holds
    (a mount, device-mapper, md) by an exclusive open; loop devices by name.
    """
    return tuple(_holders(path, os.getpid()))


@privsep.entrypoint
def _holders(path: str, asker: int) -> Sequence[str]:
    us = _stat(path)
    found = [
        f'process {pid} ({_program(pid)})'
        for pid in sorted(_processes_holding(us) - {asker, os.getpid()})
    ]
    if stat.S_ISBLK(us.st_mode) and not found and _held_by_kernel(path):
        found.append('the kernel (mounted, or part of another device)')
    return found + _loop_devices_over(us)


def _loop_devices_over(us: os.stat_result) -> list[str]:
    found = []
    for link in glob.glob('/sys/block/loop*/loop/backing_file'):
        try:
            with open(link, encoding='utf-8') as f:
                backing = f.read().strip()
        except OSError:
            continue  # it was detached since it was listed
        if _same(backing, us):
            found.append(f'loop device {link.split("/")[3]}')
    return found


def _processes_holding(us: os.stat_result) -> set[int]:
    found = set()
    for link in glob.iglob('/proc/[0-9]*/fd/*'):
        if _same(link, us):
            found.add(int(link.split('/')[2]))
    return found


def _program(pid: int) -> str:
    try:
        with open(f'/proc/{pid}/comm', encoding='utf-8') as f:
            return f.read().strip()
    except OSError:
        return 'gone'


def _same(path: str, us: os.stat_result) -> bool:
    try:
        other = os.stat(path)
    except OSError:
        return False
    if stat.S_ISBLK(us.st_mode):
        return stat.S_ISBLK(other.st_mode) and other.st_rdev == us.st_rdev
    return os.path.samestat(other, us)


def _held_by_kernel(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL))
    except OSError as e:
        return e.errno == errno.EBUSY
    return False


def extend_for_export(image: model.Image, timeout: int) -> int:
    """Let a container grow to all that its guest can make of it.

    An NBD export has a fixed length, so a qcow2 file is lengthened, as a
    hole, to what it holds plus what it would need if it were written in
    full: free clusters are used first, so it never ends behind that. A raw
    image has its length already.

    What it holds is what it occupies, so that a second export adds nothing.
    Only internal snapshots and bitmaps can hold clusters that are holes and
    yet stay taken when the guest writes; then all of the file counts.

    :param timeout: seconds
    :returns: bytes to export
    """
    if image.format is model.ImageFormat.RAW:
        return length(image.path)
    info = _info(image.path)
    cluster = info['cluster-size']
    measured = json.loads(
        command.run(
            *('qemu-img', 'measure', '--output=json', '-O', 'qcow2'),
            *('-o', f'cluster_size={cluster}'),
            *('--size', str(info['virtual-size'])),
            timeout=timeout,
        )
    )
    present = length(image.path)
    keeps = info.get('snapshots') or info['format-specific']['data'].get(
        'bitmaps'
    )
    held = present if keeps else _stat(image.path).st_blocks * 512
    wanted = held + int(measured['fully-allocated'])
    wanted += -wanted % int(cluster)
    if present < wanted:
        _extend(image.path, wanted)
    return max(present, wanted)


@privsep.entrypoint
def _extend(path: str, size: int) -> None:
    """Lengthen a file, as a hole; there is no way to shorten one."""
    try:
        os.truncate(path, max(size, length(path)))
    except OSError as e:
        raise exception.ImageError(
            path=path,
            reason=f'it cannot be extended to {size} bytes for its export '
            f'({e.strerror}).',
        ) from e


@privsep.entrypoint
def _info(path: str) -> dict[str, Any]:
    # -U: the guest that runs on an image holds QEMU's lock on it
    try:
        printed = command.run(
            *('qemu-img', 'info', '-U', '-f', 'qcow2'),
            *('--output=json', path),
            timeout=_HEADER_TIMEOUT,
        )
    except command.CommandFailed as e:
        raise exception.ImageError(
            path=path, reason=f'it cannot be read as qcow2 ({e}).'
        ) from e
    found: dict[str, Any] = json.loads(printed)
    if 'data-file' in found['format-specific']['data']:
        raise exception.ImageError(
            path=path, reason='its data is in an external data file.'
        )
    return found


def _stat(path: str) -> os.stat_result:
    with reading(path):
        return os.stat(path)


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """While an image of this host is read.

    :raises ImageError: it cannot be
    """
    try:
        yield
    except FileNotFoundError as e:
        raise exception.ImageError(
            path=path, reason='it does not exist.'
        ) from e
    except OSError as e:
        raise exception.ImageError(
            path=path, reason=f'it cannot be read ({e.strerror}).'
        ) from e
