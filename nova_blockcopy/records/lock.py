# SPDX-License-Identifier: Apache-2.0
"""The lock of a guest's migration on this host, for the processes there.

nova-compute holds the lock while it acts on a migration, and a command of an
operator holds the lock while it does. The kernel gives the lock back when a
process ends. The file of a lock goes with its holder.
"""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from nova_blockcopy import exception
from nova_blockcopy.records import durable

_DIRECTORY = 'locks'


@contextlib.contextmanager
def held(directory: str, guest: str) -> Iterator[None]:
    """Hold the lock of a guest in a ``with`` block. Not for nesting.

    :param directory: the directory of the journals
    :param guest: UUID
    :raises MigrationLocked: another process, or another thread, holds it
    :raises JournalError: the file of the lock cannot be made
    """
    path = os.path.join(directory, _DIRECTORY, os.path.basename(guest))
    try:
        fd = _taken(path)
    except OSError as e:
        raise exception.JournalError(
            path=path,
            reason=f'it cannot be made ({e.strerror}). Check the file system '
            f'of [blockcopy] journal_dir.',
        ) from e
    if fd is None:
        raise exception.MigrationLocked(guest=guest)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            pathlib.Path(path).unlink()
        os.close(fd)


def tidy(directory: str) -> None:
    """Remove the files of killed holders.

    :param directory: the directory of the journals
    """
    for path in pathlib.Path(directory, _DIRECTORY).glob('*'):
        with (
            contextlib.suppress(exception.MigrationLocked),
            held(directory, path.name),
        ):
            pass  # its end removes the file


def _taken(path: str) -> int | None:
    """Take the lock; None if somebody has it."""
    durable.make_directory(os.path.dirname(path), 0o700)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # its last holder may have removed it since
            if os.path.exists(path) and os.path.samestat(
                os.fstat(fd), os.stat(path)
            ):
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
