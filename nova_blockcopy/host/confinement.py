# SPDX-License-Identifier: Apache-2.0
"""The rights of the programs that the engine starts.

A program that root starts gets every capability of the bounding set, however
few the starting process has (capabilities(7)). So ``setpriv`` of util-linux
takes all rights away and then becomes the program. The program runs as the
owner of the files that it opens, or as nobody, where that is enough. It is in
those groups only that the files ask for. The code runs on both hosts.
"""

import dataclasses
import os
import stat
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

from oslo_privsep import capabilities

from nova_blockcopy.runtime import process

#: Rights for a file or directory, as in a class of its mode.
SEARCH, WRITE, READ = 1, 2, 4
#: The user and the group without rights (``overflowuid`` in the kernel).
NOBODY = 65534
#: Reads every file and searches every directory.
_READ_ALL = 'dac_read_search'
#: Reads and writes every file.
_WRITE_ALL = 'dac_override'
#: ``setpriv`` needs these to become another user and to take rights away.
LAUNCH = {
    'setgid': capabilities.CAP_SETGID,
    'setuid': capabilities.CAP_SETUID,
    'setpcap': capabilities.CAP_SETPCAP,
}
#: The capabilities that a confined program can have, with their numbers.
PASSED = {
    _READ_ALL: capabilities.CAP_DAC_READ_SEARCH,
    _WRITE_ALL: capabilities.CAP_DAC_OVERRIDE,
}
#: Exists on a file whose mode does not tell the rights of users and groups.
_ACL = 'system.posix_acl_access'
#: The kernel follows no more symbolic links (MAXSYMLINKS).
_MOST_LINKS = 40


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """All rights of a program.

    ``user`` is the user id; None keeps user and groups of this process.
    ``groups`` are group ids. ``capabilities`` are names without ``CAP_``.
    """

    user: int | None = None
    groups: tuple[int, ...] = ()
    capabilities: tuple[str, ...] = ()


#: A program that needs the user of this process, and no capabilities.
KEPT = Confinement()
#: A program that needs to be root, and no capabilities.
ROOT = Confinement(user=0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """A file that a program opens, or a directory on the way there.

    ``right`` has the rights that the program needs for it. ``acl`` tells
    whether it has an access control list.
    """

    right: int
    mode: int
    uid: int
    gid: int
    acl: bool = False


def of(read: Iterable[str] = (), write: Iterable[str] = ()) -> Confinement:
    """Return the least rights with which a program can open files.

    Runs in the helper process. A file that does not exist does not count; the
    program itself fails then.

    :param read: paths of the files that the program opens for reading
    :param write: those that it opens for reading and writing
    """
    wanted = [(path, READ | WRITE) for path in write]
    wanted += [(path, READ) for path in read]
    objects = [each for args in wanted for each in _look(*args)]
    return decide(objects, _available())


def _available() -> tuple[str, ...]:
    """Return the capabilities that this process can pass to a program."""
    bounding = int(process.status('thread-self')['CapBnd'], 16)
    return tuple(name for name in PASSED if bounding >> PASSED[name] & 1)


def decide(
    objects: Sequence[Object], available: Collection[str] = tuple(PASSED)
) -> Confinement:
    """Decide on the least rights for a program. Pure.

    The owners of files come first, those of files that are written before the
    others, then nobody. The right to read everything is less than root, even
    without capabilities, because root owns the programs and the configuration
    of the host.

    :param objects: the files that the program opens, and the directories
    :param available: the capabilities that a program can get; if they do not
        suffice, the program fails
    """
    files = sorted(
        (each for each in objects if each.right & READ),
        key=lambda each: not each.right & WRITE,
    )
    users = [*dict.fromkeys(each.uid for each in files if each.uid), NOBODY]
    attempts = [
        *((user, ()) for user in users),
        *((user, (_READ_ALL,)) for user in users if _READ_ALL in available),
        (0, ()),
    ]
    for user, passed in attempts:
        found = _as(user, passed, objects)
        if found is not None:
            return found
    rest = (_WRITE_ALL,) if _WRITE_ALL in available else ()
    return Confinement(user=users[0], capabilities=rest)


def _as(
    user: int, passed: tuple[str, ...], objects: Sequence[Object]
) -> Confinement | None:
    """Return the rights of a user that suffice; None if none do."""
    asked = [
        each
        for each in objects
        if each.right & WRITE or _READ_ALL not in passed
    ]
    groups = {
        each.gid
        for each in asked
        if each.uid != user
        and not each.acl
        and each.right & ~each.mode
        and not each.right & ~(each.mode >> 3)
    }
    members = groups | {NOBODY}
    if any(each.right & ~_granted(each, user, members) for each in asked):
        return None
    return Confinement(
        user=user, groups=tuple(sorted(groups)), capabilities=passed
    )


def _granted(each: Object, user: int, groups: set[int]) -> int:
    """Return the rights of a user, as acl_permission_check in fs/namei.c."""
    if each.uid == user:
        return each.mode >> 6
    if each.acl:
        return 0  # it may give more, but the mode does not tell
    return each.mode >> 3 if each.gid in groups else each.mode


def _look(path: str, right: int) -> Iterator[Object]:
    for directory in _directories(path):
        yield from _object(directory, SEARCH)
    yield from _object(path, right)


def _object(path: str, right: int) -> Iterator[Object]:
    try:
        found = os.stat(path)
        acl = _ACL in os.listxattr(path)
    except OSError:
        return
    yield Object(
        right=right,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        acl=acl,
    )


def _directories(path: str) -> Iterator[str]:
    """Yield the directories that the kernel searches to open a path."""
    place, links = '/', 0
    rest = path.split('/')[::-1]
    while rest:
        part = rest.pop()
        if not part:
            continue
        yield place
        place = os.path.normpath(os.path.join(place, part))
        if os.path.islink(place) and links < _MOST_LINKS:
            links += 1
            target = os.readlink(place)
            rest += target.split('/')[::-1]
            place = os.path.dirname(place)
            if target.startswith('/'):
                place = '/'


def launcher(confinement: Confinement) -> Confinement:
    """Return the rights of root that start a confined program. Pure."""
    return Confinement(
        user=0, capabilities=(*LAUNCH, *confinement.capabilities)
    )


def prefix(confinement: Confinement) -> tuple[str, ...]:
    """Return the words that start a program with these rights only.

    The program becomes the process that ``setpriv`` was, with the same pid,
    descriptors and environment. A process that is not root keeps its user,
    and its bounding set, which has no effect without new privileges.
    """
    if os.geteuid() != 0:
        return _words(KEPT)
    kept = ''.join(f',+{name}' for name in confinement.capabilities)
    return (*_words(confinement, kept), f'--bounding-set=-all{kept}', '--')


def _words(confinement: Confinement, kept: str = '') -> tuple[str, ...]:
    words = (
        *('setpriv', '--no-new-privs'),
        *(f'--inh-caps=-all{kept}', f'--ambient-caps=-all{kept}'),
    )
    if confinement.user is None:
        return words
    groups = ','.join(map(str, confinement.groups))
    return (
        *words,
        *(f'--reuid={confinement.user}', f'--regid={NOBODY}'),
        f'--groups={groups}' if groups else '--clear-groups',
    )
