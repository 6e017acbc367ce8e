# SPDX-License-Identifier: Apache-2.0
"""Deltas on this host: qcow2 overlays that take the guest's writes.

The source puts deltas on the guest's disks. The destination receives copies
of them and merges these into the bases. Each function can be called again
after an interruption.
"""

import os
import tempfile
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from nova_blockcopy import bandwidth
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.host import access
from nova_blockcopy.host import bounds
from nova_blockcopy.host import command
from nova_blockcopy.host import confinement
from nova_blockcopy.host import directories
from nova_blockcopy.host import files
from nova_blockcopy.host import header
from nova_blockcopy.host import qemu
from nova_blockcopy.host import space
from nova_blockcopy.records import durable
from nova_blockcopy.runtime import privsep

#: Bytes of a cluster: a page, so that the write of a page copies nothing from
#: below into the overlay, and less data travels. Subclusters would do the same
#: for clusters of 64 KiB, but a block pull crashes QEMU on them before 8.2
#: (bdrv_co_do_copy_on_readv in block/io.c).
_CLUSTER = 4096
#: QEMU has no more entries in the L1 table (QCOW_MAX_L1_SIZE in qcow2.h), of
#: which each stands for as many clusters as an L2 table of a cluster has.
_MOST = 4 * 1024 * 1024
_ENTRY = 8
#: The destination refuses any other version or compression (host/header.py).
_PLAIN = 'compat=1.1,compression_type=zlib'
#: The slowest merge that is allowed for, in bytes/s.
_SLOWEST = 4 * bandwidth.MIB


def cluster(size: int) -> int:
    """Choose the bytes of a cluster for an overlay. Pure.

    :param size: virtual size of the overlay in bytes
    """
    chosen = _CLUSTER
    while size > _MOST * (chosen // _ENTRY) * chosen:
        chosen *= 2
    return chosen


def landing(directory: str, migration: str, disk: str) -> str:
    """Name the file for a delta that the destination receives. Pure.

    :param directory: see :func:`prepare`
    """
    return os.path.join(directory, f'{migration}-{disk}.seed')


def create(image: model.Image, size: int, timeout: int) -> None:
    """Create an empty overlay on top of a backing image, durably.

    :param image: the overlay, with the backing image
    :param size: virtual size of the overlay in bytes
    :param timeout: seconds
    :raises ImageError: the overlay could not be created
    """
    _create(wire.pack(image), size, timeout)


@privsep.entrypoint
def _create(image: Any, size: int, timeout: int) -> None:
    overlay = access.unpack(image, model.Image)
    path = overlay.path
    below = _below(overlay)
    try:
        with access.place(path, *bounds.overlays()) as at:
            os.close(files.create(at))
    except OSError as e:
        raise exception.ImageError(
            path=path,
            reason=f'it cannot be created ({e.strerror}). Check [blockcopy] '
            f'delta_dir.',
        ) from e
    _qemu_img(
        path,
        *('create', '-q', '-f', 'qcow2', '-u', *below),
        *('-o', f'cluster_size={cluster(size)},{_PLAIN}'),
        *(path, str(int(size))),
        confined=confinement.of(write=[path]),
        timeout=timeout,
    )
    durable.sync(path)
    durable.sync(os.path.dirname(path))


def arrived(size: int, backing: Iterable[str]) -> header.Expected:
    """Tell what the header of a delta from another host must state. Pure.

    :param size: virtual size of the disk in bytes
    :param backing: the names of the backing file that it may have
    """
    return header.Expected(
        size_bytes=size,
        backing=tuple(backing),
        cluster=cluster(size),
        plain=True,
    )


def stand_on(
    image: model.Image,
    timeout: int,
    expected: header.Expected = header.LOCAL,
) -> None:
    """Write the path of the backing image into the header of a qcow2.

    No backing file is opened, neither the old nor the new one.

    :param timeout: seconds
    :param expected: the facts that the header must state before
    :raises HeaderError: the header states something else
    :raises ImageError: the header cannot be written
    """
    _stand_on(wire.pack(image), wire.pack(expected), timeout)


@privsep.entrypoint
def _stand_on(image: Any, expected: Any, timeout: int) -> None:
    overlay = access.unpack(image, model.Image)
    below = _below(overlay)
    header.require([[overlay.path, expected]])
    _qemu_img(
        overlay.path,
        *('rebase', '-q', '-u', *below),
        *('--image-opts', qemu.options(qemu.layer(overlay))),
        confined=confinement.of(write=[overlay.path]),
        timeout=timeout,
    )


def commit(
    image: model.Image,
    into: model.Image,
    timeout: int,
    expected: Mapping[str, header.Expected] | None = None,
) -> None:
    """Merge an overlay, and all layers between, into an unused image.

    The overlay keeps its data. An overlay that does not exist has been
    merged already, so the call does nothing.

    :param image: the overlay, with all layers down to ``into``
    :param timeout: seconds
    :param expected: the facts that headers must state, by path; see
        :func:`header.layers`
    :raises HeaderError: a header states something else
    :raises ImageError: the merge failed; no data is lost
    """
    known = {path: wire.pack(each) for path, each in (expected or {}).items()}
    _commit(wire.pack(image), into.path, known, timeout)


@privsep.lasting
def _commit(
    image: Any, into: str, expected: Mapping[str, Any], timeout: int
) -> None:
    top = access.unpack(image, model.Image)
    access.within(top.path, *bounds.images())
    if not os.path.exists(top.path):
        return
    known = {
        path: access.unpack(each, header.Expected)
        for path, each in expected.items()
    }
    header.require(header.layers(top, known))
    lowest = next((x for x in model.chain(top) if x.path == into), None)
    if lowest is None:
        raise exception.ForbiddenPath(
            path=repr(into), reason=f'it is no layer below {top.path}.'
        )
    header.require_followed(lowest)
    below = [each.path for each in model.chain(top)][1:]
    _qemu_img(
        top.path,
        *('commit', '-q', '-d', '-b', lowest.path, '--image-opts'),
        qemu.options(qemu.content_down_to(top, lowest)),
        confined=confinement.of(below, [top.path, into]),
        timeout=timeout,
    )
    durable.sync(lowest.path)


@privsep.entrypoint
def present(paths: Sequence[str]) -> Sequence[str]:
    """Return the paths that exist on this host."""
    for path in paths:
        access.within(path, *bounds.images())
    return [path for path in paths if os.path.exists(path)]


def time_limit(stalled: int, paths: Iterable[str]) -> int:
    """Return a time limit for a merge, in seconds, that slow storage meets.

    :param stalled: seconds to add to the time for the data
    :param paths: the overlays
    :raises ImageError: an overlay does not exist
    """
    return stalled + sum(map(allocated, paths)) // _SLOWEST


@privsep.entrypoint
def retire(path: str) -> None:
    """Rename an overlay durably, so that it is no longer present.

    This takes a moment only. :func:`remove` removes the file.
    """
    _durably(path, lambda at: os.rename(at, _retired(at)))


@privsep.lasting
def remove(paths: Sequence[str]) -> None:
    """Remove overlays durably, in the given order, also retired ones."""
    for path in paths:
        for each in (path, _retired(path)):
            _durably(each, os.unlink)


def _durably(path: str, act: Callable[[str], None]) -> None:
    """Do something to the name of an overlay durably, if it exists."""
    access.within(path, *bounds.overlays())
    if os.path.exists(path):
        with access.place(path, *bounds.overlays()) as at:
            act(at)
        durable.sync(os.path.dirname(path))


def _retired(path: str) -> str:
    return f'{path}.merged'


@privsep.entrypoint
def allocated(path: str) -> int:
    """Return the bytes that an overlay occupies in the file system.

    :raises ImageError: the overlay does not exist
    """
    try:
        return access.status(path).st_blocks * 512
    except OSError as e:
        raise exception.ImageError(
            path=path, reason=f'{e.strerror}. Find out who has removed it.'
        ) from e


def prepare(directory: str) -> None:
    """Make the directory of the overlays, or take back rights of others.

    :raises UnsafeDirectory: another user could replace it, or write there
    """
    directories.prepare_as_root(directory, 'delta_dir', directories.PASSABLE)


def examine(directory: str, least: int) -> None:
    """Check what :func:`prepare` would find, and change nothing.

    :param least: free space that is needed, in MiB
    :raises UnsafeDirectory: another user could replace it, or write there
    :raises NoRoom: less is free
    :raises DeltaDirRefused: the file system has no direct I/O
    """
    nearest = directories.examine(directory, 'delta_dir')
    space.check(nearest, least)
    check_direct(nearest)


@privsep.entrypoint
def check_direct(directory: str) -> None:
    """Pass if files in a directory can be opened past the page cache.

    The exports of the deltas need O_DIRECT, and so does most guests' QEMU.

    :raises DeltaDirRefused: the file system does not allow that
    """
    access.delta_dir(directory, or_above=True)
    try:
        with tempfile.NamedTemporaryFile(dir=directory) as f:
            os.close(os.open(f.name, os.O_RDWR | os.O_DIRECT))
    except OSError as e:
        raise exception.DeltaDirRefused(
            directory=directory,
            reason=f'a file there cannot be opened for direct I/O, past the '
            f'page cache ({e.strerror}); set delta_dir to a directory on a '
            f'file system that has O_DIRECT.',
        ) from e


def _below(image: model.Image) -> list[str]:
    """Return qemu-img's arguments for the backing image of an overlay."""
    below = image.backing
    assert below is not None  # noqa: S101 - an overlay has one
    access.check_name(below.path)
    return ['-b', qemu.local(below.path), '-F', below.format.value]


def _qemu_img(
    path: str,
    *arguments: str,
    confined: confinement.Confinement,
    timeout: int,
) -> None:
    try:
        command.run('qemu-img', *arguments, confined=confined, timeout=timeout)
    except command.CommandFailed as e:
        raise exception.ImageError(
            path=path, reason=f'{e} Check the image and its storage.'
        ) from e
