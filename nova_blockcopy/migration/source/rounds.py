# SPDX-License-Identifier: Apache-2.0
"""One round of seeding, which copies the last frozen layer of each disk."""

import dataclasses
import threading
import time

import psutil

from nova_blockcopy import events
from nova_blockcopy import extents
from nova_blockcopy import forecast
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import images
from nova_blockcopy.migration import monitor
from nova_blockcopy.migration.source import comparison
from nova_blockcopy.migration.source import exports
from nova_blockcopy.migration.source import ledger as ledgers
from nova_blockcopy.migration.source import lookout
from nova_blockcopy.migration.source import pace
from nova_blockcopy.migration.source import remote


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Runs rounds of seeding for one guest. Runs on the source."""

    destination: remote.RemoteDestination
    ledger: ledgers.Ledger
    exports: exports.Exports
    lookout: lookout.Lookout
    comparison: comparison.Comparison
    monitor: monitor.Monitor
    pace: pace.Pace
    cancelled: threading.Event

    def run(self, before: float) -> float:
        """Copy the frozen images into the bases, and compare them.

        :param before: the rate of the last round in bytes/s; 0 = no round yet
        :returns: the rate of this round, in bytes/s
        :raises NoRoom: the deltas may not grow any more
        :raises Disturbed: another program has changed the guest
        :raises SeedFailed: a base could not be filled
        :raises VerifyFailed: a base differs from the source image
        """
        self.lookout.check()
        seeds = tuple(map(self._seed, self.ledger.record.moves))
        if not any(seed.delta for seed in seeds):
            seeds = self.comparison.without_received(seeds)
        elapsed_s = self._copy(seeds)
        for seed in seeds:
            self.comparison.verify(seed)
        self.destination.apply(seeds, self.cancelled)
        self.exports.clear()
        moved = sum(extents.total(seed.extents) for seed in seeds)
        return forecast.rate(moved, elapsed_s, before)

    def _seed(self, move: model.Move) -> model.Seed:
        """Export the image below the top, and find the extents to copy."""
        image = move.top().backing
        assert image is not None  # noqa: S101 - the top is a delta
        delta = len(move.deltas) > 1
        export = self.exports.serve(
            move.disk, image, content=move.by_content and not delta
        )
        size = export.size_bytes
        found = images.to_copy(image, size, content=export.content)
        if found and image.format is model.ImageFormat.QCOW2:
            # without the hole that an earlier export has left at the end
            size = min(size, found[-1].offset + found[-1].length)
        return model.Seed(
            disk=move.disk,
            source=image,
            target=move.base,
            export=export,
            extents=found,
            size_bytes=size,
            delta=delta,
        )

    def _copy(self, seeds: tuple[model.Seed, ...]) -> float:
        pids = {seed.disk: seed.export.pid for seed in seeds}

        def watch(
            state: states.State, disks: tuple[model.DiskProgress, ...]
        ) -> None:
            for seed in seeds:
                if not psutil.pid_exists(pids[seed.disk]):
                    revived = self.exports.revive(seed.export, seed.source)
                    pids[seed.disk] = revived.pid
                    self.monitor.retry(events.Retry.EXPORT)
            self.monitor.watch(state, disks)

        began = time.monotonic()
        self.destination.seed(
            seeds,
            self.pace.copy,
            self.pace.followed(self.destination.set_bandwidth, watch),
            self.cancelled,
        )
        return time.monotonic() - began
