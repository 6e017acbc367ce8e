# SPDX-License-Identifier: Apache-2.0
"""The free space of file systems, and the space that files take there."""

import dataclasses
import os
import stat
from collections.abc import Sequence
from typing import Any

from nova_blockcopy import bandwidth
from nova_blockcopy import exception
from nova_blockcopy import wire
from nova_blockcopy.host import access
from nova_blockcopy.runtime import privsep


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """One file system, with a directory on it and its free bytes."""

    device: int
    place: str
    free: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file, with the bytes that it occupies."""

    device: int
    occupied: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A look at a directory and at some files, by path.

    The first file system is the one of the directory.
    """

    systems: tuple[FileSystem, ...]
    files: dict[str, File]


def look(directory: str, paths: Sequence[str] = ()) -> Sight:
    """Look at the directory of the deltas, and at images.

    An image that does not exist is left out, and so is a device.

    :raises NoRoom: the directory cannot be used
    :raises ForbiddenPath: a path leads to no image
    :raises UnsafeDirectory: the helper has another directory of deltas
    """
    return wire.unpack(_look(directory, list(paths)), Sight)


@privsep.entrypoint
def _look(directory: str, paths: Sequence[str]) -> Any:
    access.delta_dir(directory, or_above=True)
    try:
        systems = [_system(directory)]
    except OSError as e:
        raise exception.NoRoom(
            directory=directory,
            reason=f'{e.strerror}; see [blockcopy] delta_dir.',
        ) from e
    files: dict[str, File] = {}
    for path in paths:
        try:
            found = access.status(path)
            if not stat.S_ISREG(found.st_mode):
                continue
            files[path] = File(
                device=found.st_dev, occupied=found.st_blocks * 512
            )
            if found.st_dev not in {each.device for each in systems}:
                systems.append(_system(os.path.dirname(path)))
        except OSError:
            continue  # it is about to be created, or was removed
    return wire.pack(Sight(systems=tuple(systems), files=files))


def _system(directory: str) -> FileSystem:
    found = os.statvfs(directory)
    return FileSystem(
        device=os.stat(directory).st_dev,
        place=directory,
        free=found.f_bavail * found.f_frsize,
    )


def check(directory: str, least: int) -> None:
    """Check that the deltas of a migration have room to begin.

    :param directory: the one of the deltas, or the one above it
    :param least: free space that is needed, in MiB
    :raises NoRoom: less is free, or the directory cannot be used
    """
    free = look(directory).systems[0].free
    if free < least * bandwidth.MIB:
        raise exception.NoRoom(
            directory=directory,
            reason=f'{free // bandwidth.MIB} MiB are free, but {least} MiB '
            f'are needed: [blockcopy] delta_min_free. Make room, or set '
            f'delta_dir to another directory.',
        )
