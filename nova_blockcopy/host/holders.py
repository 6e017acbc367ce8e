# SPDX-License-Identifier: Apache-2.0
"""The users that have an image of this host open."""

import errno
import glob
import os
import stat
from collections.abc import Sequence

from nova_blockcopy.host import images
from nova_blockcopy.runtime import privsep
from nova_blockcopy.runtime import waiting

#: Seconds for which a user may have an image open without being in the way,
#: and between two looks.
_PATIENCE = 3.0
_PAUSE = 0.3


def of(path: str) -> tuple[str, ...]:
    """Name the users that have an image of this host open.

    Processes are found by their open descriptors. A use by the kernel (a
    mount, device-mapper, md) is found by an exclusive open. Loop devices are
    found by the path of their file.

    After each change of a volume, udev and others read it for a moment. So a
    user counts only if some user is there for three seconds.

    :raises ImageError: the image cannot be read
    """
    found: Sequence[str] = ()

    def is_free() -> bool:
        nonlocal found
        found = _holders(path, os.getpid())
        return not found

    waiting.until(is_free, timeout=_PATIENCE, interval=_PAUSE)
    return tuple(found)


@privsep.entrypoint
def _holders(path: str, asker: int) -> Sequence[str]:
    image = images.status(path)
    found = [
        f'process {pid} ({_program(pid)})'
        for pid in sorted(_processes_holding(image) - {asker, os.getpid()})
    ]
    if stat.S_ISBLK(image.st_mode) and not found and _held_by_kernel(path):
        found.append('the kernel (mounted, or part of another device)')
    return found + _loop_devices_over(image)


def _loop_devices_over(image: os.stat_result) -> list[str]:
    found = []
    for link in glob.glob('/sys/block/loop*/loop/backing_file'):
        try:
            with open(link, encoding='utf-8') as f:
                backing = f.read().strip()
        except OSError:
            continue  # the device was detached after glob() listed it
        if _same(backing, image):
            found.append(f'loop device {link.split("/")[3]}')
    return found


def _processes_holding(image: os.stat_result) -> set[int]:
    found = set()
    for link in glob.iglob('/proc/[0-9]*/fd/*'):
        if _same(link, image):
            found.add(int(link.split('/')[2]))
    return found


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
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL))
    except OSError as e:
        return e.errno == errno.EBUSY
    return False
