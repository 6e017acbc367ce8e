# SPDX-License-Identifier: Apache-2.0
"""Checksums of parts of an image, to compare a base with the source.

The code runs on both hosts. A checksum is SHA-256 in hexadecimal.
"""

import hashlib
import os
import threading
from collections.abc import Iterable
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.host import access
from nova_blockcopy.host import command
from nova_blockcopy.host import confinement
from nova_blockcopy.host import header
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
    """Return the checksums of parts of an image on this host, in order.

    :param by_content: True reads the guest-visible content, all layers
        together; False reads the bytes of the top layer's file or device
    :param timeout: seconds to read the content of one part
    :raises HeaderError: a qcow2 may not be opened; see :func:`header.judge`
    :raises ImageError: the image cannot be read
    :raises Aborted: ``cancelled`` was set
    """
    found = []
    for part in wanted:
        if cancelled.is_set():
            raise exception.Aborted(
                f'The reading of {image.path} was aborted on request.'
            )
        found.append(
            _content(image, part, timeout)
            if by_content
            else _bytes(image.path, part.offset, part.length)
        )
    return found


@privsep.lasting
def _bytes(path: str, offset: int, length: int) -> str:
    with images.reading(path), access.opened(path) as f:
        f.seek(offset)
        return hashlib.sha256(f.read(length)).hexdigest()


def _content(image: model.Image, part: model.Extent, timeout: int) -> str:
    try:
        return _read(wire.pack(image), wire.pack(part), timeout)
    except command.CommandFailed as e:
        raise exception.ImageError(
            path=image.path, reason=f'{e} Check the image and its storage.'
        ) from e


@privsep.lasting
def _read(image: Any, part: Any, timeout: int) -> str:
    """Return the checksum of the content that qemu-img reads.

    qemu-img cannot write to a pipe, so the content goes through memory.

    :param image: a packed :class:`model.Image`
    :param part: a packed :class:`model.Extent`
    """
    layers = access.unpack(image, model.Image)
    extent = access.unpack(part, model.Extent)
    header.require(header.layers(layers))
    source = qemu.part(qemu.content(layers), extent)
    paths = [layer.path for layer in model.chain(layers)]
    with open(os.memfd_create('content'), 'rb') as copy:
        os.truncate(copy.fileno(), extent.length)
        # another user cannot open the memory by the helper's own /proc
        target = qemu.layer(model.raw_file('/proc/self/fd/0'))
        command.work_on(
            copy.fileno(),
            *('qemu-img', 'convert', '-n', '--target-is-zero'),
            *('--image-opts', '--target-image-opts'),
            *(qemu.options(source), qemu.options(target)),
            confined=confinement.of(read=paths),
            timeout=timeout,
        )
        return hashlib.file_digest(copy, 'sha256').hexdigest()
