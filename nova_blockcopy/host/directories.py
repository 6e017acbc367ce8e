# SPDX-License-Identifier: Apache-2.0
"""The directories of the engine, in which nobody else may read or write.

A program that runs as root must not use a path that somebody else can point to
another place. So each level of the path belongs to root or to the service.
The rules are those of OpenSSH (``safe_path()`` in its misc.c), which keeps
keys of users in directories of users.
"""

import contextlib
import dataclasses
import errno
import functools
import os
import pathlib
import stat
from collections.abc import Collection
from collections.abc import Iterator

from nova_blockcopy import exception
from nova_blockcopy.host import access
from nova_blockcopy.records import durable
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import privsep

LOG = logging.getLogger(__name__)

#: The journals and notes are for the service only.
PRIVATE = 0o700
#: Other users may open a file if they know the name and may read the file.
#: QEMU's user needs this for the deltas, which libvirt makes its own.
PASSABLE = 0o711
_FILE = 0o600
_ALL = 0o7777


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One directory of a path, as ``lstat`` tells."""

    path: str
    mode: int
    uid: int
    gid: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A directory that the engine is to use, and the levels of its path.

    ``itself`` is None if nothing is there. ``above`` has the directories above
    that exist, the lowest first.
    """

    path: str
    is_link: bool
    itself: Level | None
    above: tuple[Level, ...]


def prepare(path: str, option: str, mode: int) -> None:
    """Make a directory of this process, or take back rights of others.

    This applies to all that is below the directory, too.

    :param option: the option that names it
    :param mode: the most rights of the directory
    :raises UnsafeDirectory: another user could replace it, or write there
    """
    _prepare(path, option, mode, (0, os.geteuid()), (0, os.getegid()))


def prepare_as_root(path: str, option: str, mode: int) -> None:
    """Make a directory of root as :func:`prepare` does.

    The levels above may belong to the user of this process.

    :raises UnsafeDirectory: another user could replace it, or write there
    """
    _prepare_as_root(path, option, mode, os.geteuid(), os.getegid())


@privsep.entrypoint
def _prepare_as_root(
    path: str, option: str, mode: int, uid: int, gid: int
) -> None:
    access.delta_dir(path)
    _prepare(
        *(path, option, mode & PASSABLE),
        *((0, os.geteuid(), uid), (0, os.getegid(), gid)),
    )


def _prepare(
    path: str,
    option: str,
    mode: int,
    uids: Collection[int],
    gids: Collection[int],
) -> None:
    unsafe = functools.partial(
        exception.UnsafeDirectory, path=path, option=option
    )
    try:
        if reason := unusable(look(path), mode, uids, gids):
            raise unsafe(reason=reason)
        place = os.path.realpath(path)
        durable.make_directory(place, mode)
        _restrict(place, mode)
        # some rights of others may have stayed
        if reason := unusable(look(path), _ALL, uids, gids):
            raise unsafe(reason=reason)
        for each in pathlib.Path(place).rglob('*'):
            # another migration may remove its files meanwhile
            with contextlib.suppress(FileNotFoundError):
                _restrict(str(each), mode if each.is_dir() else _FILE)
    except OSError as e:
        raise unsafe(
            reason=f'{e.filename}: {e.strerror}. Make this directory, or name '
            f'another one.'
        ) from e


def examine(path: str, option: str) -> str:
    """Check what :func:`prepare_as_root` would find, and change nothing.

    :param option: the option that names the directory
    :returns: the directory, or the lowest one above that exists
    :raises UnsafeDirectory: another user could replace it, or write there
    """
    try:
        place = look(path)
        reason = unusable(
            *(place, PASSABLE), (0, os.geteuid()), (0, os.getegid())
        )
    except OSError as e:
        reason = f'{e.filename}: {e.strerror}. Give this user the right.'
    if reason:
        raise exception.UnsafeDirectory(
            path=path, option=option, reason=reason
        )
    return (place.itself or place.above[0]).path


def look(path: str) -> Place:
    """Look at a directory and at those above it. Changes nothing.

    :raises OSError: this process may not see one of them
    """
    place = os.path.realpath(path)
    return Place(
        path=path,
        is_link=os.path.islink(path),
        itself=_level(place),
        above=tuple(_levels(os.path.dirname(place))),
    )


def unusable(
    place: Place, mode: int, uids: Collection[int], gids: Collection[int]
) -> str | None:
    """Say why the engine cannot rely on a directory; None if it can. Pure.

    :param mode: the rights on the directory itself that count
    :param uids: the users that may own the levels of the path
    :param gids: the groups that may write to them
    """
    if place.is_link:
        return 'it is a symbolic link. Name the directory itself.'
    levels = [*place.above]
    if place.itself is not None:
        kept = place.itself.mode & (mode | ~_ALL)
        levels.append(dataclasses.replace(place.itself, mode=kept))
    for level in levels:
        if not stat.S_ISDIR(level.mode):
            return (
                f'{level.path}: {os.strerror(errno.ENOTDIR)}. Name a '
                f'directory.'
            )
        if reason := refusal(level, uids, gids):
            return reason
    return None


def may_write(level: Level, uid: int, gid: int) -> bool:
    """Tell whether a user may make files in a directory. Pure.

    Only owner, group and mode count, and no access control list.
    """
    wanted = stat.S_IWOTH | stat.S_IXOTH
    if level.gid == gid:
        wanted = stat.S_IWGRP | stat.S_IXGRP
    if level.uid == uid:
        wanted = stat.S_IWUSR | stat.S_IXUSR
    return uid == 0 or level.mode & wanted == wanted


def refusal(
    level: Level, uids: Collection[int], gids: Collection[int]
) -> str | None:
    """Say why a directory is not safe; None if it is. Pure.

    :param uids: the users that may own it
    :param gids: the groups that may write to it
    """
    if level.uid not in uids:
        return (
            f'{level.path} belongs to the user {level.uid}. Make root its '
            f'owner.'
        )
    if level.mode & stat.S_ISVTX:
        return None  # nobody can replace what belongs to another user
    if level.mode & stat.S_IWOTH or (
        level.mode & stat.S_IWGRP and level.gid not in gids
    ):
        return (
            f'others may write to {level.path}. Run "chmod go-w {level.path}".'
        )
    return None


def _levels(path: str) -> Iterator[Level]:
    """The directories of a path that exist, the lowest first."""
    for each in (pathlib.Path(path), *pathlib.Path(path).parents):
        if level := _level(str(each)):
            yield level


def _level(path: str) -> Level | None:
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Level(
        path=path, mode=found.st_mode, uid=found.st_uid, gid=found.st_gid
    )


def _restrict(path: str, most: int) -> None:
    """Take back the rights of others that an earlier version has given."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        present = stat.S_IMODE(found.st_mode)
        if not present & ~most or stat.S_ISLNK(found.st_mode):
            return
        os.chmod(f'/proc/self/fd/{fd}', present & most)
        LOG.warning(
            'The mode of %s was %04o, and is %04o now',
            *(path, present, present & most),
        )
    except PermissionError:
        # QEMU's user owns a delta in use, and the directory hides its name
        LOG.warning('The mode of %s stays %04o', path, present)
    finally:
        os.close(fd)
