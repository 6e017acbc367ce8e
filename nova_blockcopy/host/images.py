# SPDX-License-Identifier: Apache-2.0
"""Images of this host: kind, size, chain, extents and checksum.

The code runs on both hosts. The caller declares the format of an image. No
format is ever probed, because a guest can write any header.
"""

import contextlib
import errno
import fcntl
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
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy.host import access
from nova_blockcopy.host import boot
from nova_blockcopy.host import command
from nova_blockcopy.host import confinement
from nova_blockcopy.host import header
from nova_blockcopy.host import qemu
from nova_blockcopy.runtime import privsep

#: The ioctl for the logical sector size of a block device (linux/fs.h).
_BLKSSZGET = 0x1268
#: Seconds that qemu-img may take to read a header.
_HEADER_TIMEOUT = 30
#: Bytes in a block of a checksum; a block of zeroes is left out.
_BLOCK = 64 * 1024
#: Extents of data begin and end at multiples of this many bytes, or more if
#: a file would have too many extents.
_GRAIN = 1024 * 1024
_MOST_EXTENTS = 65536


def kind(path: str) -> model.ImageKind:
    """Tell whether a path on this host is a block device or a file.

    :raises ImageError: the path does not exist, is neither of the two, or is
        not absolute
    """
    mode = status(qemu.local(path)).st_mode
    if stat.S_ISBLK(mode):
        return model.ImageKind.BLOCK
    if stat.S_ISREG(mode):
        return model.ImageKind.FILE
    raise exception.ImageError(
        path=path,
        reason='it is neither a block device nor a regular file. Use one of '
        'these.',
    )


def describe(path: str, format_: model.ImageFormat) -> model.Image:
    """Return an image of this host, with the chain that the headers name.

    Use this only for images that this host's administrator made: a header
    that a guest can write is never trusted. Each header must declare the
    format of the backing image.

    :raises ImageError: an image cannot be read, or a format is not declared
    """
    below = None
    if format_ is model.ImageFormat.QCOW2:
        found = info(path)
        backing = found.get('full-backing-filename')
        if backing is not None:
            below = describe(backing, _backing_format(path, found))
    return model.Image(
        path=path, kind=kind(path), format=format_, backing=below
    )


def _backing_format(path: str, found: dict[str, Any]) -> model.ImageFormat:
    try:
        return model.ImageFormat(found.get('backing-filename-format', ''))
    except ValueError:
        raise exception.ImageError(
            path=path,
            reason='its header does not declare the format of its backing '
            'file as raw or qcow2; set it with "qemu-img rebase -u -F".',
        ) from None


def size(image: model.Image) -> int:
    """Return the virtual size of an image in bytes.

    :raises ImageError: the image cannot be read
    """
    if image.format is model.ImageFormat.QCOW2:
        return int(info(image.path)['virtual-size'])
    return length(image.path)


@privsep.entrypoint
def length(path: str) -> int:
    """Return the bytes of a file or a block device of this host.

    :raises ImageError: the file or device cannot be read
    """
    with reading(path), access.opened(path) as f:
        return f.seek(0, os.SEEK_END)


@privsep.entrypoint
def alignment(path: str) -> int:
    """Return the alignment in bytes that QEMU may need for direct writes.

    A block device needs the logical sector size. For a file, QEMU probes for
    the alignment, but does not exceed a page (raw_probe_alignment,
    block/file-posix.c), so the size of a page is returned.

    :raises ImageError: the image cannot be read
    """
    with reading(path), access.opened(path) as f:
        if not stat.S_ISBLK(os.fstat(f.fileno()).st_mode):
            return mmap.PAGESIZE
        size = fcntl.ioctl(f, _BLKSSZGET, bytes(4))
    return int.from_bytes(size, sys.byteorder)


@privsep.entrypoint
def check_direct(path: str) -> None:
    """Pass if an image can be opened past the page cache (O_DIRECT).

    :raises ImageError: the image or its file system does not allow that, or
        the path is not absolute
    """
    with reading(path):
        try:
            os.close(access.opener(path, os.O_RDONLY | os.O_DIRECT))
        except OSError as e:
            if e.errno != errno.EINVAL:
                raise
            raise exception.ImageError(
                path=path,
                reason='its file system has no direct I/O, past the page '
                'cache (O_DIRECT); move it to another file system.',
            ) from e


def cluster(image: model.Image) -> int:
    """Return the cluster size of a qcow2 in bytes; 0 for a raw image.

    :raises ImageError: the image cannot be read
    """
    if image.format is model.ImageFormat.RAW:
        return 0
    return int(info(image.path)['cluster-size'])


def identity(path: str) -> model.ImageIdentity:
    """Return a value that is equal for all paths to the same image.

    :raises ImageError: the image cannot be read
    """
    found = status(path)
    if stat.S_ISBLK(found.st_mode):
        return model.ImageIdentity(
            boot=boot.current(), device=found.st_rdev, inode=0
        )
    return model.ImageIdentity(
        boot=boot.current(), device=found.st_dev, inode=found.st_ino
    )


def digest(image: model.Image | None) -> str | None:
    """Return a checksum over the files of all layers, top layer first.

    A hole counts as zeroes.

    :returns: SHA-256 in hexadecimal; None for no image
    :raises ImageError: a layer cannot be read
    """
    if image is None:
        return None
    return _digest([layer.path for layer in model.chain(image)])


@privsep.lasting
def _digest(paths: Sequence[str]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(length(path).to_bytes(8))
        with reading(path), access.opened(path) as f:
            for offset, block in _filled_blocks(f):
                total.update(offset.to_bytes(8) + block)
    return total.hexdigest()


def _filled_blocks(f: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the blocks that are not all zeroes, with their offsets."""
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
            # lets other green threads run where eventlet is in use
            time.sleep(0)


def _next_data(f: IO[bytes], offset: int) -> int | None:
    """Return the offset of the next data; None if only a hole is left."""
    try:
        return f.seek(offset, os.SEEK_DATA)
    except OSError as e:
        if e.errno == errno.ENXIO:
            return None
        raise


def data_extents(path: str) -> tuple[model.Extent, ...]:
    """Return the extents of a file that have data.

    Data that lies close together becomes one extent. A block device is one
    extent.

    :raises ImageError: the image cannot be read
    """
    if kind(path) is model.ImageKind.BLOCK:
        return (model.Extent(offset=0, length=length(path)),)
    found: list[model.Extent] = []
    for first, end in _data(path):
        if found and found[-1].offset + found[-1].length >= first:
            first = found.pop().offset
        found.append(model.Extent(offset=first, length=end - first))
    return tuple(found)


def to_copy(
    image: model.Image, size: int, *, content: bool
) -> tuple[model.Extent, ...]:
    """Return the extents of an image that a round of seeding copies.

    :param size: bytes that a guest sees
    :param content: copy what a guest reads, with all layers below
    :raises ImageError: the image cannot be read
    """
    return extents.outside(size, ()) if content else data_extents(image.path)


@privsep.lasting
def _data(path: str) -> Sequence[tuple[int, int]]:
    """Return the begin and end of each run of data, rounded outwards."""
    size = length(path)
    grain = max(_GRAIN, -(-size // _MOST_EXTENTS // _GRAIN) * _GRAIN)
    found, offset = [], 0
    with access.opened(path) as f:
        while offset < size and (data := _next_data(f, offset)) is not None:
            hole = f.seek(data, os.SEEK_HOLE)
            offset = min(size, -(-hole // grain) * grain)
            found.append((data - data % grain, offset))
    return found


@privsep.lasting
def data_end(path: str) -> int:
    """Return the offset in bytes at which the last data of a file ends.

    :raises ImageError: the file cannot be read
    """
    end = 0
    with reading(path), access.opened(path) as f:
        while (data := _next_data(f, end)) is not None:
            end = f.seek(data, os.SEEK_HOLE)
    return end


@privsep.entrypoint
def info(path: str) -> dict[str, Any]:
    """Return the header of a qcow2, as ``qemu-img info`` prints it.

    :raises HeaderError: the file is no qcow2, or has an external data file
    :raises ImageError: the file cannot be read
    """
    header.require(header.single(path))
    image = model.Image(
        path=path, kind=kind(path), format=model.ImageFormat.QCOW2
    )
    # -U: QEMU holds a lock on the image of a running guest
    try:
        printed = command.run(
            *('qemu-img', 'info', '-U', '--output=json'),
            *('--image-opts', qemu.options(qemu.layer(image))),
            confined=confinement.of(read=[path]),
            timeout=_HEADER_TIMEOUT,
        )
    except command.CommandFailed as e:
        raise exception.ImageError(
            path=path,
            reason=f'it cannot be read as qcow2 ({e}). Look at it '
            f'with "qemu-img check".',
        ) from e
    found: dict[str, Any] = json.loads(printed)
    return found


@privsep.lasting
def reserve(path: str, size_bytes: int, timeout: int) -> None:
    """Reserve space for a file, which may be in use. The content stays.

    :param timeout: seconds
    :raises ImageError: the file system has no room, or reserves nothing
    """
    access.check(path)
    try:
        # unlike posix_fallocate(3), this never writes zeros instead
        command.run(
            *('fallocate', '--keep-size', '--length', str(size_bytes), path),
            confined=confinement.of(write=[path]),
            timeout=timeout,
        )
    except command.CommandFailed as e:
        raise exception.ImageError(
            path=path, reason=f'{e} Make room on its file system.'
        ) from e


def status(path: str) -> os.stat_result:
    """Return the status of a file or a device.

    :raises ImageError: the path does not exist or cannot be read
    """
    with reading(path):
        return os.stat(path)


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Translate the errors of code that reads an image of this host.

    :raises ImageError: the image does not exist or cannot be read
    """
    try:
        yield
    except FileNotFoundError as e:
        raise exception.ImageError(
            path=path,
            reason='it does not exist. Create it, or correct the path.',
        ) from e
    except OSError as e:
        raise exception.ImageError(
            path=path,
            reason=f'it cannot be read ({e.strerror}). Check its rights and '
            f'its storage.',
        ) from e
