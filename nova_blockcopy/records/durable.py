# SPDX-License-Identifier: Apache-2.0
"""Small JSON files that are replaced atomically and durably.

After a crash a file has its old content or its new content, complete.
"""

import contextlib
import datetime
import errno
import json
import os
import pathlib
import stat
import tempfile
from collections.abc import Iterator
from typing import IO
from typing import Any
from typing import TypeVar

from nova_blockcopy import exception
from nova_blockcopy import wire

T = TypeVar('T')

#: The prefix of the name of a temporary file.
_UNFINISHED = '.unfinished'
#: The mode of a directory that is being made, and that of its parents.
_HIDDEN, _PARENT = 0o700, 0o711
#: Bytes of a file. The values of a damaged file of this size take less than
#: 256 MiB of memory.
LARGEST = 8 * 1024 * 1024


def write(path: str, data: Any) -> None:
    """Replace a file; the new content is on stable storage on return.

    :param data: plain JSON types
    :raises OSError: the file has its old content
    """
    content = json.dumps(data, indent=2).encode() + b'\n'
    if len(content) > LARGEST:  # nobody could read the file again
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    directory = os.path.dirname(path)
    make_directory(directory, 0o700)
    with replacing(path) as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    sync(directory)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """Yield a new file that takes the place of another one at the end.

    The caller flushes what has to survive a crash. The new file has the mode
    0600, because it may hold secrets, such as a domain's XML.

    :raises OSError: the file has its old content
    """
    fd, temporary = tempfile.mkstemp(
        dir=os.path.dirname(path), prefix=_UNFINISHED
    )
    try:
        with os.fdopen(fd, 'wb') as f:
            yield f
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def make_directory(path: str, mode: int) -> None:
    """Create a directory and its parents durably, unless they exist.

    The modes do not depend on the umask, which is 0 in the helper process
    (``Daemon.run()`` in oslo.privsep's daemon.py).

    :param mode: of the directory itself; its parents have at most 0711
    :raises OSError: the directory cannot be created
    """
    wanted = pathlib.Path(path).absolute()
    missing = [each for each in (wanted, *wanted.parents) if not each.exists()]
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):  # of another thread
            each.mkdir(_HIDDEN)
            each.chmod(mode if each == wanted else _PARENT)
        sync(str(each.parent))
    if not wanted.is_dir():
        raise NotADirectoryError(
            errno.ENOTDIR, os.strerror(errno.ENOTDIR), path
        )


def read(path: str) -> Any:
    """Read a file.

    :returns: plain JSON types; None if the file does not exist
    :raises OSError: the file cannot be read
    :raises ValueError: it is not a regular file, too large, or not JSON
    """
    try:
        with open(path, 'rb', opener=_open) as f:
            if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
                raise ValueError('it is not a regular file')
            content = f.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    if len(content) > LARGEST:
        raise ValueError(f'it has more than {LARGEST} bytes')
    data = wire.parse(content)
    if data is None:  # which would look like no file
        raise ValueError('it has no value')
    return data


def load(path: str, kind: type[T]) -> T | None:
    """Read a file that has one value.

    :returns: None if the file does not exist
    :raises NoteError: the file cannot be read, or has something else
    """
    try:
        data = read(path)
        return None if data is None else wire.unpack(data, kind)
    except (OSError, ValueError) as e:
        raise exception.NoteError(path=path, reason=why(e)) from e


def now() -> str:
    """The present time in UTC, in ISO 8601, as files of this kind have it."""
    present = datetime.datetime.now(datetime.UTC)
    return present.isoformat(timespec='milliseconds')


def why(error: OSError | ValueError) -> str:
    """Say in one line why a file cannot be read."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return wire.brief(error)


def _open(path: str, flags: int) -> int:
    # not to wait for the writer of a FIFO
    return os.open(path, flags | os.O_NONBLOCK)


def remove(path: str) -> None:
    """Remove a file durably, if it exists."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    sync(os.path.dirname(path))


def tidy(directory: str) -> None:
    """Remove the temporary files of killed writers below a directory.

    No other thread or process may write there at the same time.
    """
    for path in pathlib.Path(directory).rglob(f'{_UNFINISHED}*'):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            path.unlink()


def sync(path: str) -> None:
    """Flush a file or a directory to stable storage."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
