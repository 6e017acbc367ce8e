# SPDX-License-Identifier: Apache-2.0
"""The files that hold images, made long enough for their exports.

An NBD export has a fixed length in whole sectors. A qcow2 file grows while a
guest writes, and may end anywhere. So a file gets a hole at the end before it
is exported, which takes no space. Whatever lies beyond the end of the export
reads as zeroes on the destination. The code runs on the source.
"""

import json
import os
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import access
from nova_blockcopy.host import command
from nova_blockcopy.host import confinement
from nova_blockcopy.host import images
from nova_blockcopy.runtime import privsep

#: Bytes. QEMU refuses a part of an image that does not end at a sector
#: (raw_apply_options, block/raw-format.c).
_SECTOR = 512
#: Bytes of reserve for the space that QEMU wastes after the export begins.
#: QEMU skips a free cluster if it needs more clusters in a row. It comes back
#: only after a cluster before that one was freed (alloc_clusters_noref,
#: block/qcow2-refcount.c). So if a guest discards, only the bytes that it
#: writes limit the length of the file.
_RESERVE = 1024 * 1024 * 1024
#: The reserve in a file system that has no files of that length.
_LEAST_RESERVE = 1024 * 1024


def extend(image: model.Image, timeout: int) -> int:
    """Lengthen the file of an image for all that its guest can write.

    The new length is the end of the data, plus the space for a fully written
    image, plus its metadata once more: QEMU moves tables that grow, and may
    not reuse the space of the old ones (alloc_refcount_block,
    block/qcow2-refcount.c), plus a reserve. A raw image keeps its length.

    The hole that an earlier export has left does not count, so a second export
    adds nothing. With internal snapshots or bitmaps, the whole file counts,
    because these can keep clusters that are holes.

    :param timeout: seconds
    :returns: bytes to export
    :raises BlockCopyError: the image cannot be read, measured or lengthened
    """
    if image.format is model.ImageFormat.RAW:
        return pad(image)
    header = images.info(image.path)
    full = _fully_written(header, timeout)
    data = header['format-specific']['data']
    if header.get('snapshots') or data.get('bitmaps'):
        end = images.length(image.path)
    else:
        end = images.data_end(image.path)
    wanted = end + 2 * full - int(header['virtual-size'])
    cluster = int(header['cluster-size'])
    try:
        return _lengthen(image.path, _whole(wanted + _RESERVE, cluster))
    except exception.ImageError:
        return _lengthen(image.path, _whole(wanted + _LEAST_RESERVE, cluster))


def padded(size: int) -> int:
    """Return the bytes of an export of so many bytes: whole sectors. Pure."""
    return _whole(size, _SECTOR)


def _whole(size: int, unit: int) -> int:
    return size + -size % unit


def pad(image: model.Image) -> int:
    """Lengthen the file of an image to whole sectors.

    :returns: bytes to export
    :raises ImageError: the file cannot be read or lengthened
    """
    if image.kind is model.ImageKind.BLOCK:
        return images.length(image.path)
    return _lengthen(image.path, 0)


def _fully_written(header: dict[str, Any], timeout: int) -> int:
    """Bytes of a new image of the same kind in which nothing is a hole."""
    data = header['format-specific']['data']
    options = [f'cluster_size={header["cluster-size"]}']
    # the version of the format that has these options, too
    if data['compat'] != '0.10':
        options += [f'refcount_bits={data["refcount-bits"]}']
    if data.get('extended-l2'):
        options += ['extended_l2=on']
    printed = command.run(
        *('qemu-img', 'measure', '--output=json', '-O', 'qcow2'),
        *('-o', ','.join(options), '--size', str(header['virtual-size'])),
        confined=confinement.of(),
        timeout=timeout,
    )
    return int(json.loads(printed)['fully-allocated'])


@privsep.entrypoint
def _lengthen(path: str, size: int) -> int:
    """Lengthen a file by a hole, to whole sectors.

    :param size: bytes; a longer file keeps its length
    :returns: the length in bytes
    """
    present = images.length(path)
    wanted = padded(max(size, present))
    if wanted == present:
        return present
    try:
        with access.opened(path, 'r+b') as f:
            os.truncate(f.fileno(), wanted)
    except OSError as e:
        raise exception.ImageError(
            path=path,
            reason=f'it cannot be extended to {wanted} bytes for its export '
            f'({e.strerror}). Check the storage of this host.',
        ) from e
    return wanted
