# SPDX-License-Identifier: Apache-2.0
"""Small JSON files that are whole after a crash: the old or the new."""

import json
import os
import pathlib
import tempfile
from typing import Any

#: What the name of a file begins with while it is written.
_UNFINISHED = '.unfinished'


def write(path: str, data: Any) -> None:
    """Replace a file; it is on the disk when this returns.

    :raises OSError: it is as it was
    """
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    # a domain's XML may hold secrets: mkstemp's mode 0600 is kept
    fd, temporary = tempfile.mkstemp(dir=directory, prefix=_UNFINISHED)
    try:
        with os.fdopen(fd, 'w', encoding='utf-8') as f:
            json.dump(data, f, indent=2)
            f.write('\n')
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync(directory)


def read(path: str) -> Any:
    """What was written; None if there is no such file.

    :raises OSError: it cannot be read
    :raises ValueError: it is not JSON
    """
    try:
        with open(path, encoding='utf-8') as f:
            return json.load(f)
    except FileNotFoundError:
        return None


def remove(path: str) -> None:
    """Remove a file for good; done twice is done once."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    sync(os.path.dirname(path))


def tidy(directory: str) -> None:
    """Remove what a writer left that was killed; nobody may write now."""
    for path in pathlib.Path(directory).rglob(f'{_UNFINISHED}*'):
        path.unlink(missing_ok=True)


def sync(path: str) -> None:
    """Have a file or a directory on the disk as it is now."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
