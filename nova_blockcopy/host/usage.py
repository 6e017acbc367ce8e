# SPDX-License-Identifier: Apache-2.0
"""The space that images occupy on this host."""

import os
import pathlib
from collections.abc import Iterable

from nova_blockcopy import model


def total(images: Iterable[tuple[model.Image, int]]) -> int | None:
    """Return the bytes that images occupy together.

    A block device occupies all of its size, and a file what the file system
    has allocated for it.

    :param images: each image with its size as a guest sees it, in bytes
    :returns: None if the space of some image cannot be read
    """
    try:
        return sum(_allocated(image, size) for image, size in images)
    except OSError:
        return None


def free(path: str) -> int | None:
    """Return the bytes that are free where a directory is, or will be.

    :returns: None if the file system cannot be asked
    """
    place = pathlib.Path(path)
    try:
        while not place.exists():
            place = place.parent
        found = os.statvfs(place)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _allocated(image: model.Image, size: int) -> int:
    if image.kind is model.ImageKind.BLOCK:
        return size
    return os.stat(image.path).st_blocks * 512
