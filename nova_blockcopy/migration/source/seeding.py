# SPDX-License-Identifier: Apache-2.0
"""The steps that seeded mode adds. Run on the source, like all steps."""

import dataclasses
import functools
import time
from collections.abc import Iterator

import psutil
from oslo_log import log as logging

from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import forecast
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import checksums
from nova_blockcopy.host import deltas
from nova_blockcopy.host import images
from nova_blockcopy.migration.source import source
from nova_blockcopy.migration.source import steps
from nova_blockcopy.runtime import task

LOG = logging.getLogger(__name__)


class FreezeDisks(steps.Step):
    """The guest's writes go to deltas, so its disks do not change."""

    state = states.State.FREEZING

    def execute(self, context: steps.Context) -> None:
        """Freeze for the first time.

        :raises CannotFreeze: libvirt will not do it with this guest
        """
        try:
            freeze(context)
        except exception.Disconnected:
            raise
        except exception.HypervisorError as e:
            raise exception.CannotFreeze(
                guest=context.guest.name, reason=e
            ) from e

    def undo(self, context: steps.Context) -> None:
        record = context.record
        context.source.merge(context.guest, record.moves, record.definition)
        context.note(
            record.state,
            'the deltas are merged',
            moves=tuple(
                dataclasses.replace(move, deltas=()) for move in record.moves
            ),
        )


def freeze(context: steps.Context) -> None:
    """Put another delta on top of each disk.

    :raises BlockCopyError: it was not done, or it is to be undone
    """
    directory = context.settings.delta_dir
    moves = tuple(
        dataclasses.replace(
            move,
            deltas=(
                *move.deltas,
                source.delta_path(directory, context.record.migration, move),
            ),
        )
        for move in context.record.moves
    )
    context.note(states.State.FREEZING, moves=moves)
    context.source.freeze(context.guest, moves)
    context.note(
        states.State.FREEZING,
        'frozen',
        live_xml=context.guest.live_xml(),
        persistent_xml=context.guest.persistent_xml() or '',
    )


class SeedBases(steps.Step):
    """The bases are filled, round by round, while the guest runs here."""

    state = states.State.SEEDING

    def execute(self, context: steps.Context) -> None:
        known: forecast.Forecast | None = None
        began = time.monotonic()
        for number in range(context.settings.seed_rounds):
            if number:
                freeze(context)
                context.note(self.state)
            rate = self._round(context, known.rate if known else 0.0)
            now = forecast.Forecast(
                delta_bytes=sum(
                    deltas.allocated(move.deltas[-1])
                    for move in context.record.moves
                ),
                rate=rate,
            )
            advice = forecast.advise(
                now,
                known,
                longest=context.settings.max_remote_window,
                rounds_left=context.settings.seed_rounds - number - 1,
                spent_s=time.monotonic() - began,
            )
            context.note(self.state, f'round {number + 1}: {now}; {advice}')
            LOG.info('Guest %s: %s: %s', context.guest.name, now, advice)
            context.foresee(now)
            if advice is not forecast.Advice.AGAIN:
                break
            known = now
        if advice is not forecast.Advice.SHORTFALL:
            return
        # else the copy of what is left might never get ready either
        context.guest_bandwidth = int(now.rate / 2)
        if context.settings.seed_shortfall_action == 'abort':
            raise exception.SeedFailed(
                disk=', '.join(move.disk for move in context.record.moves),
                reason=f'the guest writes faster than its disks are copied: '
                f'{now}, max_remote_window is '
                f'{context.settings.max_remote_window} s.',
            )

    def undo(self, context: steps.Context) -> None:
        try:
            context.destination.abort()
        except exception.PeerError as e:
            # without the exports it comes to an end as well
            LOG.warning('The destination still seeds: %s', e)
        context.source.exporter.stop(context.record.exports)

    def _round(self, context: steps.Context, rate: float) -> float:
        """Bring over what does not change any more.

        :param rate: of the round before, in bytes/s
        :returns: the rate now
        """
        context.source.check_room()
        seeds = tuple(_seed(context, move) for move in context.record.moves)
        if not any(seed.delta for seed in seeds):
            seeds = _without_received(context, seeds)
        began = time.monotonic()
        context.destination.seed(
            seeds,
            context.bandwidth,
            functools.partial(
                _watch,
                context,
                seeds,
                {seed.disk: seed.export.pid for seed in seeds},
            ),
            context.cancelled,
        )
        elapsed = time.monotonic() - began
        for seed in seeds:
            _verify(context, seed)
        context.destination.apply(seeds, context.cancelled)
        context.source.exporter.stop(context.record.exports)
        context.note(self.state, exports=())
        moved = sum(extents.total(seed.extents) for seed in seeds)
        return forecast.rate(moved, elapsed, rate)


def _watch(
    context: steps.Context,
    seeds: tuple[model.Seed, ...],
    pids: dict[str, int],
    state: states.State,
    disks: tuple[model.DiskProgress, ...],
) -> None:
    """Pass figures on, look for room, and at the exports.

    :param pids: by disk, of the exports' servers
    :raises NoRoom: the guest would be stopped soon
    """
    context.source.check_room()
    for seed in seeds:
        if not psutil.pid_exists(pids[seed.disk]):
            revived = context.source.exporter.revive(seed.export, seed.source)
            pids[seed.disk] = revived.pid
    context.watch(state, disks)


def _seed(context: steps.Context, move: model.Move) -> model.Seed:
    """Export the image below the top, which was frozen last."""
    image = move.top().backing
    assert image is not None  # noqa: S101 - the top is a delta
    delta = len(move.deltas) > 1
    export = steps.start_export(
        context,
        states.State.SEEDING,
        move.disk,
        image,
        content=move.by_content and not delta,
    )
    return model.Seed(
        disk=move.disk,
        source=image,
        target=move.base,
        export=export,
        extents=extents.outside(export.size_bytes, ())
        if export.content
        else images.data_extents(image.path),
        size_bytes=export.size_bytes,
        delta=delta,
    )


def _without_received(
    context: steps.Context, seeds: tuple[model.Seed, ...]
) -> tuple[model.Seed, ...]:
    """Leave out what an earlier attempt has brought, and is the same."""
    known = context.destination.received()
    return tuple(
        _without(
            context, seed, extents.covered(seed.size_bytes, known[seed.disk])
        )
        for seed in seeds
    )


def _without(
    context: steps.Context, seed: model.Seed, there: tuple[model.Extent, ...]
) -> model.Seed:
    if not there:
        return seed
    differing = set(_differing(context, seed, there))
    same = [unit for unit in there if unit not in differing]
    LOG.info(
        'Disk %s: %d of %d MiB are there already',
        seed.disk,
        extents.total(same) >> 20,
        seed.size_bytes >> 20,
    )
    if not same:
        return seed
    return dataclasses.replace(
        seed, extents=extents.outside(seed.size_bytes, same), afresh=False
    )


def _verify(context: steps.Context, seed: model.Seed) -> None:
    """Compare what has arrived, as far as is wanted.

    :raises VerifyFailed: it differs
    """
    wanted = {
        model.Verify.NONE: (),
        model.Verify.SAMPLE: extents.sample(seed.size_bytes),
        model.Verify.FULL: tuple(extents.units(seed.size_bytes)),
    }[context.settings.verify]
    for extent in _differing(context, seed, wanted):
        raise exception.VerifyFailed(
            disk=seed.disk, offset=extent.offset, length=extent.length
        )


def _differing(
    context: steps.Context, seed: model.Seed, wanted: tuple[model.Extent, ...]
) -> Iterator[model.Extent]:
    """What of an image is not the same on both hosts."""
    for batch in extents.batches(wanted):
        ours, theirs = _checksums(context, seed, batch)
        for extent, one, other in zip(batch, ours, theirs, strict=True):
            if one != other:
                yield extent


def _checksums(
    context: steps.Context, seed: model.Seed, wanted: tuple[model.Extent, ...]
) -> tuple[list[str], list[str]]:
    """Of the source and of the target; both hosts read at the same time."""
    ours = task.Task(
        'digest',
        lambda cancelled: checksums.of(
            seed.source,
            wanted,
            cancelled,
            by_content=seed.by_content,
            timeout=context.settings.stall_timeout,
        ),
    )
    try:
        theirs = context.destination.digest(seed, wanted, context.cancelled)
        while not ours.wait(context.settings.poll_interval):
            if context.cancelled.is_set():
                raise exception.Aborted(guest=context.guest.name)
    finally:
        ours.cancel()
    if ours.failure is not None:
        raise ours.failure
    return ours.result, theirs
