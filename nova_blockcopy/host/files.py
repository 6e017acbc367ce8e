# SPDX-License-Identifier: Apache-2.0
"""New files of the engine, which nobody else may read or write."""

import errno
import os
import stat

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MODE = 0o600


def create(path: str) -> int:
    """Create a file, or empty the file of an interrupted attempt.

    The mode is 0600, and does not depend on the umask, which is 0 in the
    helper process. Runs in the helper process.

    :returns: a file descriptor for reading and writing
    :raises OSError: another thing than a file is there, or a link to a file
    """
    fd = rewrite(path)
    try:
        os.fchmod(fd, _MODE)
    except BaseException:
        os.close(fd)
        raise
    return fd


def rewrite(path: str) -> int:
    """Create a file, or empty one, which keeps its owner and mode.

    A new file has the mode 0600. Runs in the helper process.

    :returns: a file descriptor for reading and writing
    :raises OSError: as :func:`create`
    """
    fd = os.open(path, _FLAGS, _MODE)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd
