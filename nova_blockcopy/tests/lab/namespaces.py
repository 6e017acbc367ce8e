# SPDX-License-Identifier: Apache-2.0
"""Entering the namespaces of another process by a single thread."""

import ctypes
import os

_CLONE_FS = 0x200
_KINDS = ('mnt', 'net', 'uts')
_libc = ctypes.CDLL(None, use_errno=True)


def enter(pid: int) -> None:
    """Move the calling thread into a process's namespaces, for good.

    Later threads and children of the calling thread are there, too. A thread
    that shares its working directory with others cannot change its mount
    namespace, so the thread stops sharing first.
    """
    _check(_libc.unshare(_CLONE_FS))
    # all are opened before the first is entered, which changes /proc
    fds = [os.open(f'/proc/{pid}/ns/{kind}', os.O_RDONLY) for kind in _KINDS]
    for fd in fds:
        _check(_libc.setns(fd, 0))
        os.close(fd)


def members(pid: int) -> list[int]:
    """Return the other processes in the mount namespace of a process."""
    ours = _namespace(str(pid))
    return [
        int(entry)
        for entry in os.listdir('/proc')
        if entry.isdigit()
        and int(entry) != pid
        and ours is not None
        and _namespace(entry) == ours
    ]


def _namespace(pid: str) -> str | None:
    try:
        return os.readlink(f'/proc/{pid}/ns/mnt')
    except OSError:
        return None


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
