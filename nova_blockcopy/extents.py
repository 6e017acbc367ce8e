# SPDX-License-Identifier: Apache-2.0
"""Ranges of an image: cut, joined and compared. Pure."""

from collections.abc import Iterable
from collections.abc import Iterator

from nova_blockcopy import bandwidth
from nova_blockcopy.model import Extent

#: Bytes that are proven, or copied again, together.
UNIT = 16 * bandwidth.MIB
#: Most bytes that are copied at a time: a multiple of the unit, and so many
#: that starting the copier is little of the work.
PIECE = 64 * bandwidth.MIB
#: Seconds that a limited piece takes, so that a limit can be changed and a
#: copy be ended soon; and its least size in bytes.
_PIECE_SECONDS = 2
_LEAST_PIECE = bandwidth.MIB
#: Units of a disk that a sample looks at.
_SAMPLE = 16
#: Units that are asked about in one message.
_BATCH = 1024


def total(extents: Iterable[Extent]) -> int:
    """Bytes in all."""
    return sum(extent.length for extent in extents)


def piece_size(rate: int) -> int:
    """How much to copy at a time at a rate.

    :param rate: bytes/s; 0 = no limit
    """
    if not rate:
        return PIECE
    wanted = 1 << (rate * _PIECE_SECONDS).bit_length() - 1
    return min(PIECE, max(_LEAST_PIECE, wanted))


def cut(extent: Extent, size: int) -> tuple[Extent, Extent | None]:
    """Take at most so many bytes from the front; what is left, if any.

    A cut is at a multiple of the size.
    """
    length = min(extent.length, size - extent.offset % size)
    first = Extent(offset=extent.offset, length=length)
    if length == extent.length:
        return first, None
    return first, Extent(
        offset=extent.offset + length, length=extent.length - length
    )


def joined(extents: Iterable[Extent]) -> tuple[Extent, ...]:
    """The same bytes, in order, with as few extents as possible."""
    found: list[Extent] = []
    for extent in sorted(extents, key=lambda e: e.offset):
        if found and found[-1].offset + found[-1].length >= extent.offset:
            last = found.pop()
            end = max(last.offset + last.length, extent.offset + extent.length)
            extent = Extent(offset=last.offset, length=end - last.offset)
        found.append(extent)
    return tuple(found)


def units(length: int) -> Iterator[Extent]:
    """An image, unit by unit."""
    for offset in range(0, length, UNIT):
        yield Extent(offset=offset, length=min(UNIT, length - offset))


def covered(length: int, extents: Iterable[Extent]) -> tuple[Extent, ...]:
    """The units of an image that lie in the extents as a whole."""
    found = []
    for extent in joined(extents):
        end = extent.offset + extent.length
        for offset in range(-(-extent.offset // UNIT) * UNIT, end, UNIT):
            unit = Extent(offset=offset, length=min(UNIT, length - offset))
            if offset < length and offset + unit.length <= end:
                found.append(unit)
    return tuple(found)


def outside(length: int, extents: Iterable[Extent]) -> tuple[Extent, ...]:
    """What of an image does not lie in the extents."""
    found, offset = [], 0
    for extent in joined(extents):
        if extent.offset > offset:
            found.append(Extent(offset=offset, length=extent.offset - offset))
        offset = extent.offset + extent.length
    if offset < length:
        found.append(Extent(offset=offset, length=length - offset))
    return tuple(found)


def batches(
    wanted: tuple[Extent, ...],
) -> Iterator[tuple[Extent, ...]]:
    """So many at a time that a message of them is a small one."""
    for first in range(0, len(wanted), _BATCH):
        yield wanted[first : first + _BATCH]


def sample(length: int) -> tuple[Extent, ...]:
    """A few units of an image, spread over it, with both of its ends."""
    found = tuple(units(length))
    if len(found) <= _SAMPLE:
        return found
    step = (len(found) - 1) / (_SAMPLE - 1)
    return tuple(found[round(n * step)] for n in range(_SAMPLE))
