# SPDX-License-Identifier: Apache-2.0
"""The users that have an image of this host open."""

import errno
import glob
import os
import stat
from collections.abc import Sequence

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import access
from nova_blockcopy.host import images
from nova_blockcopy.host import locks
from nova_blockcopy.host import mounts
from nova_blockcopy.host import visibility
from nova_blockcopy.runtime import privsep
from nova_blockcopy.runtime import task
from nova_blockcopy.runtime import waiting

#: Seconds for which a user may have an image open without being in the way,
#: and between two looks.
_PATIENCE = 3.0
_PAUSE = 0.3
#: Seconds that one look may take.
_LIMIT = 60
#: What has QEMU's locks, but is no process that can be seen.
_UNSEEN = (
    'a QEMU that /proc does not show (in another container, or on another '
    'host)'
)


def of(path: str) -> tuple[str, ...]:
    """Name the users that have an image of this host open.

    Processes are found by their open descriptors. A use by the kernel (a
    mount, device-mapper, md) is found by an exclusive open. Loop devices are
    found by the path of their file. A QEMU in another container or, on shared
    storage, on another host is found by its locks.

    After each change of a volume, udev and others read it for a moment. So a
    user counts only if some user is there for three seconds.

    :raises ImageError: the image cannot be read, the search did not end, or a
        guest's QEMU may use the image without being found
    """
    found: Sequence[str] = ()

    def is_free() -> bool:
        nonlocal found
        found = _look(path)
        return not found

    waiting.until(is_free, timeout=_PATIENCE, interval=_PAUSE)
    return tuple(found)


def _look(path: str) -> Sequence[str]:
    looking = task.Task('holders', lambda _: _holders(path, os.getpid()))
    if not looking.wait(_LIMIT):
        raise exception.ImageError(
            path=path,
            reason=f'the programs that have it open were not found within '
            f'{_LIMIT} s; a file system of this host may not answer. Find it '
            f'and repair it.',
        )
    if looking.failure is not None:
        raise looking.failure
    found: Sequence[str] = looking.result
    return found


@privsep.lasting
def _holders(path: str, asker: int) -> Sequence[str]:
    access.check(path)
    image = images.status(path)
    kind = images.kind(path)
    locked = locks.held(path)
    found = [
        f'process {pid} ({_program(pid)})'
        for pid in sorted(_processes_holding(image) - {asker, os.getpid()})
    ]
    if kind is model.ImageKind.BLOCK and not found and _held_by_kernel(path):
        found.append('the kernel (mounted, or part of another device)')
    if locked and not found:
        found.append(_UNSEEN)
    found += _loop_devices_over(image)
    if not found:
        _check_sight(path, kind, told=locked is not None)
    return found


def _check_sight(path: str, kind: model.ImageKind, *, told: bool) -> None:
    """Pass if each guest's QEMU that uses an image would have been found."""
    reason = visibility.blind_spot(visibility.current(), kind, told=told)
    if reason is not None:
        raise exception.ImageError(path=path, reason=reason)


def _loop_devices_over(image: os.stat_result) -> list[str]:
    found = []
    seen = mounts.of()
    for link in glob.glob('/sys/block/loop*/loop/backing_file'):
        try:
            with open(link, encoding='utf-8') as f:
                backing = f.read().strip()
        except OSError:
            continue  # the device was detached after glob() listed it
        mount = mounts.containing(backing, seen)
        if mount and _may_hang(mount, image):
            continue
        if _same(backing, image):
            found.append(f'loop device {link.split("/")[3]}')
    return found


def _processes_holding(image: os.stat_result) -> set[int]:
    apart = {mount.id for mount in mounts.of_all() if _may_hang(mount, image)}
    found = set()
    for link in glob.iglob('/proc/[0-9]*/fd/*'):
        if apart and _mount(link) in apart:
            continue
        if _same(link, image):
            found.add(int(link.split('/')[2]))
    return found


def _may_hang(mount: mounts.Mount, image: os.stat_result) -> bool:
    """Tell whether a mount may hang, and has no file that is the image."""
    return mount.served and mount.device != image.st_dev


def _mount(link: str) -> str:
    """Return the id of the mount of an open file; '' if it is closed."""
    try:
        with open(link.replace('/fd/', '/fdinfo/'), encoding='utf-8') as f:
            fields = dict(line.split(':', 1) for line in f if ':' in line)
    except OSError:
        return ''
    return fields['mnt_id'].strip()


def _program(pid: int) -> str:
    try:
        with open(f'/proc/{pid}/comm', encoding='utf-8') as f:
            return f.read().strip()
    except OSError:
        return 'gone'


def _same(path: str, image: os.stat_result) -> bool:
    try:
        other = os.stat(path)
    except OSError:
        return False
    if stat.S_ISBLK(image.st_mode):
        return stat.S_ISBLK(other.st_mode) and other.st_rdev == image.st_rdev
    return os.path.samestat(other, image)


def _held_by_kernel(path: str) -> bool:
    try:
        os.close(access.opener(path, os.O_RDONLY | os.O_EXCL))
    except OSError as e:
        return e.errno == errno.EBUSY
    return False
