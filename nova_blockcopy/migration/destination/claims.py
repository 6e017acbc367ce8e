# SPDX-License-Identifier: Apache-2.0
"""A message is a claim: the journal of this host decides. Pure.

Nova's bus does not tell which host has sent a message. So a message decides
neither the image that it is about, nor the encryption.
"""

import itertools
from collections.abc import Iterator

from nova_blockcopy import address as addresses
from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy.host import container
from nova_blockcopy.records import journal


def accepted(
    seed: model.Seed, record: journal.Record, settings: conf.Settings
) -> model.Move:
    """Return this host's own move for a seed that fits the journal.

    :param seed: as the source sent it
    :param settings: of this host
    :raises PeerError: the seed does not fit
    """
    moves = {move.disk: move for move in record.moves}
    move = moves.get(seed.disk)
    if move is None:
        raise _refused(f'disk {seed.disk!r} does not move')
    reasons = itertools.chain(
        _differences(seed, settings), _outside(seed, move)
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


def place_fault(
    address: str, port: int, settings: conf.Settings
) -> str | None:
    """Say why this host does not connect to an export; None if it does.

    The bus does not tell the address of the source. So this host connects to
    no service of its own, and to no port that is not for exports.

    :param address: as the source sent it
    :param settings: of this host
    """
    first, last = settings.export_port_min, settings.export_port_max
    lab = addresses.is_loopback(settings.export_address)
    if not (addresses.is_elsewhere(address) or lab):
        return (
            f'{address} cannot be the address of another host. Set '
            f'[blockcopy] export_address of the source to its address in the '
            f'migration network'
        )
    if not first <= port <= last:
        return (
            f'port {port} is not for exports, which have the ports from '
            f'{first} to {last} here. Set [blockcopy] export_port_min and '
            f'export_port_max to the same values on both hosts'
        )
    return None


def _differences(seed: model.Seed, settings: conf.Settings) -> Iterator[str]:
    tls = settings.export_tls
    if seed.export.tls != tls:
        ours, theirs = ('on', 'off') if tls else ('off', 'on')
        yield f'export_tls is {ours} here, and {theirs} for the export'
    fault = place_fault(seed.export.address, seed.export.port, settings)
    if fault is not None:
        yield fault
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
