# SPDX-License-Identifier: Apache-2.0
"""Overlays of this host: qcow2 files that take a guest's writes for a while.

Everything here can be done twice.
"""

import os
from collections.abc import Iterable
from collections.abc import Sequence

from nova_blockcopy import bandwidth
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import command
from nova_blockcopy.records import durable
from nova_blockcopy.runtime import privsep

#: With subclusters of 2 KiB a small write does not copy 64 KiB up into the
#: overlay, and no more than it has to travel (docs/interop/qcow2.txt).
_OPTIONS = 'extended_l2=on,cluster_size=65536'
#: Bytes/s that are merged at least.
_SLOWEST = 4 * bandwidth.MIB


def create(image: model.Image, size: int, timeout: int) -> None:
    """Make an empty overlay on top of what its image names, durably.

    :param size: bytes that a guest sees
    :param timeout: seconds
    :raises ImageError: it could not be made
    """
    _create(image.path, _below(image), size, timeout)


@privsep.entrypoint
def _create(path: str, below: Sequence[str], size: int, timeout: int) -> None:
    _qemu_img(
        path,
        *('create', '-q', '-f', 'qcow2', '-o', _OPTIONS, '-u', *below),
        *(path, str(size)),
        timeout=timeout,
    )
    durable.sync(path)
    durable.sync(os.path.dirname(path))


def stand_on(image: model.Image, timeout: int) -> None:
    """Have a qcow2 name what lies below it on this host.

    :raises ImageError: its header cannot be written
    """
    _stand_on(image.path, _below(image), timeout)


@privsep.entrypoint
def _stand_on(path: str, below: Sequence[str], timeout: int) -> None:
    _qemu_img(
        path,
        *('rebase', '-q', '-u', '-f', 'qcow2', *below, path),
        timeout=timeout,
    )


@privsep.entrypoint
def commit(path: str, into: str, timeout: int) -> None:
    """Merge an overlay, and all between, into an image that nobody uses.

    The overlay keeps what it has. One that does not exist has been merged.

    :param timeout: seconds
    :raises ImageError: it could not be merged; nothing is lost
    """
    if not os.path.exists(path):
        return
    _qemu_img(
        path,
        *('commit', '-q', '-d', '-f', 'qcow2', '-b', os.path.abspath(into)),
        path,
        timeout=timeout,
    )
    durable.sync(into)


@privsep.entrypoint
def present(paths: Sequence[str]) -> Sequence[str]:
    """Those that exist."""
    return [path for path in paths if os.path.exists(path)]


def time_limit(stalled: int, paths: Iterable[str]) -> int:
    """Seconds in which overlays are merged even on slow storage.

    :param stalled: seconds in which at least something happens
    :raises ImageError: one is not there
    """
    return stalled + sum(map(allocated, paths)) // _SLOWEST


@privsep.entrypoint
def remove(paths: Sequence[str]) -> None:
    """Remove overlays that are not needed any more, in order, for good."""
    for path in paths:
        if os.path.exists(path):
            os.unlink(path)
            durable.sync(os.path.dirname(path))


@privsep.entrypoint
def allocated(path: str) -> int:
    """Bytes that an overlay occupies.

    :raises ImageError: it is not there
    """
    try:
        return os.stat(path).st_blocks * 512
    except OSError as e:
        raise exception.ImageError(path=path, reason=f'{e.strerror}.') from e


@privsep.entrypoint
def check_room(directory: str, least: int) -> None:
    """Pass if overlays have room to grow.

    :param least: MiB
    :raises NoRoom: they do not
    """
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        found = os.statvfs(directory)
    except OSError as e:
        raise exception.NoRoom(
            directory=directory, reason=f'{e.strerror}.'
        ) from e
    free = found.f_bavail * found.f_frsize // bandwidth.MIB
    if free < least:
        raise exception.NoRoom(
            directory=directory,
            reason=f'{free} MiB are free, [blockcopy] delta_min_free is '
            f'{least} MiB; make room, or choose another directory.',
        )


def _below(image: model.Image) -> list[str]:
    """Arguments that name what lies below an overlay."""
    below = image.backing
    assert below is not None  # noqa: S101 - an overlay has one
    return ['-b', os.path.abspath(below.path), '-F', below.format.value]


def _qemu_img(path: str, *arguments: str, timeout: int) -> None:
    try:
        command.run('qemu-img', *arguments, timeout=timeout)
    except command.CommandFailed as e:
        raise exception.ImageError(path=path, reason=e) from e
