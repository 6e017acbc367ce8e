# SPDX-License-Identifier: Apache-2.0
"""Checksums of parts of an image, to tell where two hosts have the same.

SHA-256 in hexadecimal.
"""

import hashlib
import os
import threading
from collections.abc import Iterable

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import command
from nova_blockcopy.host import images
from nova_blockcopy.host import qemu
from nova_blockcopy.runtime import privsep


def of(
    image: model.Image,
    wanted: Iterable[model.Extent],
    cancelled: threading.Event,
    *,
    by_content: bool,
    timeout: int,
) -> list[str]:
    """Checksums of parts of an image of this host.

    :param by_content: of what a guest sees, all layers together; else of
        the bytes of the top layer
    :param timeout: seconds to read each part's content
    :raises ImageError: it cannot be read
    :raises Aborted: on request
    """
    found = []
    for part in wanted:
        if cancelled.is_set():
            raise exception.Aborted(guest=image.path)
        found.append(
            _content(image, part, timeout)
            if by_content
            else _bytes(image.path, part.offset, part.length)
        )
    return found


@privsep.entrypoint
def _bytes(path: str, offset: int, length: int) -> str:
    with images.reading(path), open(path, 'rb') as f:
        f.seek(offset)
        return hashlib.sha256(f.read(length)).hexdigest()


def _content(image: model.Image, part: model.Extent, timeout: int) -> str:
    options = qemu.options(qemu.part(qemu.content(image), part))
    try:
        return _read(options, part.length, timeout)
    except command.CommandFailed as e:
        raise exception.ImageError(path=image.path, reason=e) from e


@privsep.entrypoint
def _read(options: str, length: int, timeout: int) -> str:
    """Of what qemu-img reads; by way of memory, as it writes to no pipe."""
    with open(os.memfd_create('content'), 'rb') as copy:
        os.truncate(copy.fileno(), length)
        command.run(
            *('qemu-img', 'convert', '-n', '--target-is-zero'),
            *('-O', 'raw', '--image-opts', options),
            f'/proc/{os.getpid()}/fd/{copy.fileno()}',
            timeout=timeout,
        )
        return hashlib.file_digest(copy, 'sha256').hexdigest()
