# SPDX-License-Identifier: Apache-2.0
"""The access of the helper to files, each of which is proven first.

A path is opened with ``O_PATH`` first, which neither waits for the writer of a
FIFO nor starts a device; see open(2). The decision is about the thing that is
open then. Nobody can exchange it before it is opened for its use.

The bounds are those of :mod:`nova_blockcopy.host.bounds`.
"""

import contextlib
import dataclasses
import os
import pathlib
import reprlib
import stat
from collections.abc import Iterable
from collections.abc import Iterator
from typing import IO
from typing import Any
from typing import TypeVar

from nova_blockcopy import exception
from nova_blockcopy import wire
from nova_blockcopy.host import bounds
from nova_blockcopy.host import qemu

T = TypeVar('T')


def opened(path: str, mode: str = 'rb', *, buffering: int = -1) -> IO[bytes]:
    """Open an image of this host, as ``open()`` does.

    :raises ForbiddenPath: see :func:`opener`
    :raises OSError: the image cannot be opened
    """
    file: IO[bytes] = open(qemu.local(path), mode, buffering, opener=opener)
    return file


def opener(path: str, flags: int) -> int:
    """Open an image of this host with flags of open(2).

    :raises ForbiddenPath: the path leads to no image, or to one elsewhere
    :raises OSError: the image cannot be opened
    """
    with _held(path) as held:
        _prove(path, held)
        return _reopened(held, flags)


def _prove(path: str, held: int) -> None:
    reason = bounds.refusal(_look(path, held), _resolved(bounds.current()))
    if reason is not None:
        raise exception.ForbiddenPath(path=path, reason=reason)


def check(path: str) -> None:
    """Pass if a program may get the path of an image.

    :raises ForbiddenPath: see :func:`opener`
    :raises ImageError: the image does not exist
    """
    try:
        status(path)
    except OSError as e:
        raise exception.ImageError(
            path=path, reason=f'{e.strerror}. Check this path.'
        ) from e


def check_name(path: str) -> None:
    """Pass if a program may get the path of an image, which may not exist.

    :raises ForbiddenPath: see :func:`opener`
    """
    try:
        status(path)
    except OSError:
        within(path, *bounds.images())


def unpack(packed: Any, kind: type[T]) -> T:
    """Unpack an argument of an entry point; see :func:`wire.unpack`.

    :raises ForbiddenPath: it is no such value
    """
    try:
        return wire.unpack(packed, kind)
    except ValueError as e:
        raise exception.ForbiddenPath(
            path=wire.brief(reprlib.repr(packed)), reason=f'{e}.'
        ) from e


def status(path: str) -> os.stat_result:
    """Return the status of an image.

    :raises ForbiddenPath: see :func:`opener`
    :raises OSError: the image does not exist
    """
    with _held(path) as held:
        _prove(path, held)
        return os.fstat(held)


def opened_below(path: str, *directories: str) -> IO[bytes]:
    """Open a regular file of a few directories for reading.

    :raises ForbiddenPath: the path leads to another thing, or elsewhere
    :raises OSError: the file cannot be opened
    """

    def opener(path: str, flags: int) -> int:
        with _held(path) as held:
            if not stat.S_ISREG(os.fstat(held).st_mode):
                raise exception.ForbiddenPath(
                    path=path, reason='it is no regular file.'
                )
            _require(path, _where(held), directories)
            return _reopened(held, flags)

    return open(qemu.local(path), 'rb', opener=opener)


@contextlib.contextmanager
def place(path: str, *directories: str) -> Iterator[str]:
    """Hold the directory of a file, and yield a name of the file there.

    The name leads to the same directory until the end. The file need not
    exist.

    :param directories: the directory is one of these, or below one
    :raises ForbiddenPath: the directory is another one
    :raises OSError: the directory does not exist
    """
    within(path, *directories)
    directory, name = os.path.split(path)
    if name in ('', '.', '..'):
        raise exception.ForbiddenPath(path=path, reason='it names no file.')
    with _held(directory, os.O_DIRECTORY) as held:
        _require(path, os.path.join(_where(held), name), directories)
        yield f'/proc/self/fd/{held}/{name}'


def within(path: str, *directories: str) -> None:
    """Pass if a path leads to an image or nothing, below a directory.

    :raises ForbiddenPath: the path leads elsewhere, or to another thing
    """
    _require(path, os.path.realpath(qemu.local(path)), directories)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise exception.ForbiddenPath(path=path, reason=bounds.NO_IMAGE)


def delta_dir(path: str, *, or_above: bool = False) -> None:
    """Pass if a directory is the one of the deltas.

    :param or_above: also accept the directory in which it will be made
    :raises UnsafeDirectory: the configuration of the helper has another one
    """
    found = bounds.current()
    if found is None:
        return
    wanted = os.path.normpath(found.overlays[0])
    accepted = [wanted]
    if or_above and not os.path.exists(wanted):
        above = (str(each) for each in pathlib.Path(wanted).parents)
        accepted.append(next(each for each in above if os.path.exists(each)))
    if os.path.normpath(path) not in accepted:
        raise exception.UnsafeDirectory(
            path=path,
            option='delta_dir',
            reason=f'the helper, which runs as root, has {wanted} in its '
            f'configuration. Have the helper read the same files.',
        )


def certificates(path: str) -> None:
    """Pass if a directory is the one of the certificates.

    :raises ForbiddenPath: the configuration of the helper has another one
    """
    found = bounds.current()
    if found is None:
        return
    wanted = os.path.normpath(found.certificates)
    if os.path.normpath(path) != wanted:
        raise exception.ForbiddenPath(
            path=path,
            reason=f'the helper has {wanted} as [blockcopy] export_tls_dir. '
            f'Have the helper read the same files.',
        )


def _require(path: str, found: str, directories: Iterable[str]) -> None:
    if bounds.current() is None or bounds.lies(
        found, map(os.path.realpath, directories)
    ):
        return
    raise exception.ForbiddenPath(
        path=path,
        reason=f'{found} does not lie below {" or ".join(directories)}.',
    )


def _resolved(found: bounds.Bounds | None) -> bounds.Bounds | None:
    if found is None:
        return None
    return dataclasses.replace(
        found, images=tuple(map(os.path.realpath, found.images))
    )


@contextlib.contextmanager
def _held(path: str, flags: int = 0) -> Iterator[int]:
    held = os.open(qemu.local(path), os.O_PATH | os.O_CLOEXEC | flags)
    try:
        yield held
    finally:
        os.close(held)


def _where(held: int) -> str:
    return os.readlink(f'/proc/self/fd/{held}')


def _reopened(held: int, flags: int) -> int:
    return os.open(f'/proc/self/fd/{held}', flags | os.O_CLOEXEC)


def _look(path: str, held: int) -> bounds.Thing:
    found = os.fstat(held)
    if not stat.S_ISBLK(found.st_mode):
        return bounds.Thing(place=_where(held), mode=found.st_mode)
    return bounds.Thing(
        place=_where(held),
        mode=found.st_mode,
        directory=_of_root(os.path.dirname(path)),
        mapped=_mapped(found.st_rdev),
    )


def _of_root(directory: str) -> str:
    """Return a directory without links, if only root can change names."""
    resolved = os.path.realpath(directory)
    found = os.stat(resolved)
    if found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return ''
    return resolved


def _mapped(device: int) -> str:
    number = f'{os.major(device)}:{os.minor(device)}'
    try:
        with open(f'/sys/dev/block/{number}/dm/name', encoding='utf-8') as f:
            return f.read().strip()
    except OSError:
        return ''
