# SPDX-License-Identifier: Apache-2.0
"""The file systems of the engine's directories.

A guest that writes much while it moves fills the file system of its delta.
"""

import dataclasses
import os
from collections.abc import Iterator

from oslo_upgradecheck import upgradecheck

from nova_blockcopy import conf
from nova_blockcopy import model
from nova_blockcopy.cmd import answers
from nova_blockcopy.host import directories
from nova_blockcopy.host import mounts

_VOLATILE = ('ramfs', 'tmpfs')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """The file system that a directory is on, or will be.

    ``option`` names the directory. ``served`` tells whether another machine
    or a process serves the file system.
    """

    option: str
    path: str
    device: int
    type: str
    served: bool


def look(option: str, path: str) -> FileSystem:
    """Look at the file system of a directory, or of the nearest one above.

    :raises OSError: this process may not see it
    """
    place = directories.look(path)
    nearest = (place.itself or place.above[0]).path
    found = mounts.containing(nearest, mounts.of())
    return FileSystem(
        option=option,
        path=path,
        device=os.stat(nearest).st_dev,
        type=found.type if found else '',
        served=bool(found and found.served),
    )


def result(
    settings: conf.Settings,
    journals: FileSystem,
    deltas: FileSystem,
    instances: FileSystem,
) -> upgradecheck.Result:
    """Decide on the file systems. Pure."""
    faults = [*_unfit(journals), *_unfit(deltas)]
    if faults:
        return answers.failure(' '.join(faults))
    if settings.mode is model.Mode.SEEDED and (
        deltas.device == instances.device
    ):
        return answers.warning(
            f'{deltas.option} ({deltas.path}) is on the file system of '
            f'{instances.option} ({instances.path}). A guest that writes much '
            f'while it moves can fill that file system, and its neighbours '
            f'then pause. Give {deltas.option} a file system of its own.'
        )
    return answers.success()


def _unfit(found: FileSystem) -> Iterator[str]:
    where = f'{found.option} ({found.path}) is on {found.type}'
    remedy = f'Set {found.option} to a directory on a disk of this host.'
    if found.type in _VOLATILE:
        yield f'{where}, which a reboot empties. {remedy}'
    if found.served:
        yield f'{where}, which other hosts may share. {remedy}'
