# SPDX-License-Identifier: Apache-2.0
"""Operations on ranges of an image: cut, join, complement, sample. Pure."""

from collections.abc import Iterable
from collections.abc import Iterator

from nova_blockcopy import bandwidth
from nova_blockcopy.model import Extent

#: Bytes of a unit. A unit has one checksum, and is copied again as a whole.
UNIT = 16 * bandwidth.MIB
#: Bytes of the largest piece, which one process of qemu-img copies. It is a
#: multiple of the unit, and large enough that the start of the process takes
#: little of the time.
PIECE = 64 * bandwidth.MIB
#: Seconds that a piece may take at most under a limit. A new limit and a
#: cancellation take effect between two pieces.
_PIECE_SECONDS = 2
#: Bytes of the smallest piece under a limit.
_LEAST_PIECE = bandwidth.MIB
#: Units of a disk that a sample has.
_SAMPLE = 16
#: Units that one message between the hosts names at most.
BATCH = 1024


def total(extents: Iterable[Extent]) -> int:
    """Bytes of all extents together, which must not overlap."""
    return sum(extent.length for extent in extents)


def piece_size(rate: int) -> int:
    """Bytes of a piece that takes one to two seconds at a rate.

    :param rate: bytes/s; 0 = no limit
    :returns: bytes, a power of two from 1 MiB to 64 MiB
    """
    if not rate:
        return PIECE
    wanted = 1 << (rate * _PIECE_SECONDS).bit_length() - 1
    return min(PIECE, max(_LEAST_PIECE, wanted))


def cut(extent: Extent, size: int) -> tuple[Extent, Extent | None]:
    """Cut a piece from the front of an extent.

    The cut is at a multiple of the size.

    :param size: bytes that the piece has at most
    :returns: the piece, and the rest of the extent; None if there is no rest
    """
    length = min(extent.length, size - extent.offset % size)
    first = Extent(offset=extent.offset, length=length)
    if length == extent.length:
        return first, None
    return first, Extent(
        offset=extent.offset + length, length=extent.length - length
    )


def joined(extents: Iterable[Extent]) -> tuple[Extent, ...]:
    """Sort extents, and join those that touch or overlap."""
    found: list[Extent] = []
    for extent in sorted(extents, key=lambda e: e.offset):
        if found and found[-1].offset + found[-1].length >= extent.offset:
            last = found.pop()
            end = max(last.offset + last.length, extent.offset + extent.length)
            extent = Extent(offset=last.offset, length=end - last.offset)
        found.append(extent)
    return tuple(found)


def units(length: int) -> Iterator[Extent]:
    """Divide an image into units; the last one may be shorter.

    :param length: bytes of the image
    """
    for offset in range(0, length, UNIT):
        yield Extent(offset=offset, length=min(UNIT, length - offset))


def covered(length: int, extents: Iterable[Extent]) -> tuple[Extent, ...]:
    """The units of an image that lie completely in the extents.

    :param length: bytes of the image
    """
    found = []
    for extent in joined(extents):
        end = min(length, extent.offset + extent.length)
        for offset in range(-(-extent.offset // UNIT) * UNIT, end, UNIT):
            unit = Extent(offset=offset, length=min(UNIT, length - offset))
            if offset + unit.length <= end:
                found.append(unit)
    return tuple(found)


def outside(length: int, extents: Iterable[Extent]) -> tuple[Extent, ...]:
    """The ranges of an image that do not lie in the extents.

    :param length: bytes of the image
    """
    found, offset = [], 0
    for extent in joined(extents):
        end = min(extent.offset, length)  # it may lie behind the image
        if end > offset:
            found.append(Extent(offset=offset, length=end - offset))
        offset = extent.offset + extent.length
    if offset < length:
        found.append(Extent(offset=offset, length=length - offset))
    return tuple(found)


def batches(
    wanted: tuple[Extent, ...],
) -> Iterator[tuple[Extent, ...]]:
    """Divide extents into groups that each fit into a small message."""
    for first in range(0, len(wanted), BATCH):
        yield wanted[first : first + BATCH]


def sample(length: int) -> tuple[Extent, ...]:
    """Up to 16 units of an image, evenly spread, including both ends.

    :param length: bytes of the image
    """
    last = -(-length // UNIT) - 1
    if last < _SAMPLE:
        return tuple(units(length))
    offsets = [last * n // (_SAMPLE - 1) * UNIT for n in range(_SAMPLE)]
    return tuple(
        Extent(offset=offset, length=min(UNIT, length - offset))
        for offset in offsets
    )
