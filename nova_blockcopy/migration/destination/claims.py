# SPDX-License-Identifier: Apache-2.0
"""A message is a claim: the journal of this host decides. Pure.

Nova's bus does not tell which host has sent a message. So a message decides
neither the image that it is about, nor the encryption.
"""

import itertools
from collections.abc import Iterator

from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy.host import container
from nova_blockcopy.records import journal


def accepted(
    seed: model.Seed, record: journal.Record, *, tls: bool
) -> model.Move:
    """Return this host's own move for a seed that fits the journal.

    :param seed: as the source sent it
    :param tls: this host's ``export_tls``
    :raises PeerError: the seed does not fit
    """
    moves = {move.disk: move for move in record.moves}
    move = moves.get(seed.disk)
    if move is None:
        raise _refused(f'disk {seed.disk!r} does not move')
    reasons = itertools.chain(
        _differences(seed, tls=tls), _outside(seed, move)
    )
    reason = next(reasons, None)
    if reason is not None:
        raise _refused(reason)
    return move


def _refused(reason: str) -> exception.PeerError:
    return exception.PeerError(
        operation='seed',
        reason=f'{reason}. Nothing was written. Check the source host.',
    )


def _differences(seed: model.Seed, *, tls: bool) -> Iterator[str]:
    if seed.export.tls != tls:
        ours, theirs = ('on', 'off') if tls else ('off', 'on')
        yield f'export_tls is {ours} here, and {theirs} for the export'
    if seed.delta and seed.by_content:
        yield (
            f'the source wants to copy a delta of disk {seed.disk} by its '
            f'content, but a delta is copied as a file'
        )


def _outside(seed: model.Seed, move: model.Move) -> Iterator[str]:
    """Yield lengths that the image cannot have.

    A qcow2 file may be longer than its disk, or shorter.
    """
    raw = move.base.format is model.ImageFormat.RAW and not seed.delta
    if (raw or seed.by_content) and not (
        move.size_bytes <= seed.size_bytes <= container.padded(move.size_bytes)
    ):
        yield (
            f'disk {seed.disk} has {move.size_bytes} bytes, and the export '
            f'{seed.size_bytes}'
        )
    for extent in seed.extents:
        if extent.offset + extent.length > seed.size_bytes:
            yield (
                f'disk {seed.disk} has {seed.size_bytes} bytes, and an extent '
                f'ends at {extent.offset + extent.length}'
            )


def check_parts(parts: tuple[model.Extent, ...]) -> None:
    """Pass if the helper can read parts of an image without much memory.

    :raises PeerError: a part is larger than a unit, or there are too many
    """
    largest = max((part.length for part in parts), default=0)
    if largest > extents.UNIT or len(parts) > extents.BATCH:
        raise exception.PeerError(
            operation='digest',
            reason=f'the source asks for {len(parts)} checksums of up to '
            f'{largest} bytes, but may ask for {extents.BATCH} of '
            f'{extents.UNIT} bytes. Check the source host.',
        )
