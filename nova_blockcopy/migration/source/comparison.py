# SPDX-License-Identifier: Apache-2.0
"""The comparison of seeded bases with the source images, by checksums."""

import dataclasses
import threading
from collections.abc import Iterator

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy.host import checksums
from nova_blockcopy.migration.source import remote
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import task

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Compares images on both hosts. Runs on the source.

    Each host reads only images of that host. ``cancelled`` ends a comparison
    early.
    """

    destination: remote.RemoteDestination
    settings: conf.Settings
    cancelled: threading.Event

    def without_received(
        self, seeds: tuple[model.Seed, ...]
    ) -> tuple[model.Seed, ...]:
        """Leave out the extents of an earlier attempt that are equal.

        The destination only names the extents of earlier attempts. Checksums
        of both hosts prove that an extent is equal.
        """
        received = self.destination.received()
        return tuple(
            self._without(
                seed,
                extents.covered(seed.size_bytes, received.get(seed.disk, ())),
            )
            for seed in seeds
        )

    def verify(self, seed: model.Seed) -> None:
        """Compare a seeded image, as far as ``[blockcopy] verify`` asks.

        Data that came in clear text are compared in full.

        A delta is compared in full or not at all. A wrong byte of its
        metadata could damage any part of the base, and nothing compares the
        base again after the merge.

        :raises VerifyFailed: the base differs from the source image
        """
        verify = self.settings.verification(tls=seed.export.tls)
        if seed.delta and verify is model.Verify.SAMPLE:
            verify = model.Verify.FULL
        wanted = {
            model.Verify.NONE: (),
            model.Verify.SAMPLE: extents.sample(seed.size_bytes),
            model.Verify.FULL: tuple(extents.units(seed.size_bytes)),
        }[verify]
        for extent in self._differing(seed, wanted):
            raise exception.VerifyFailed(
                disk=seed.disk, offset=extent.offset, length=extent.length
            )

    def _without(
        self, seed: model.Seed, received: tuple[model.Extent, ...]
    ) -> model.Seed:
        if not received:
            return seed
        differing = set(self._differing(seed, received))
        same = [unit for unit in received if unit not in differing]
        LOG.info(
            'Disk %s: the destination already has %d of %d MiB',
            seed.disk,
            extents.total(same) >> 20,
            seed.size_bytes >> 20,
        )
        if not same:
            return seed
        rest = extents.outside(seed.size_bytes, same)
        return dataclasses.replace(seed, extents=rest, afresh=False)

    def _differing(
        self, seed: model.Seed, wanted: tuple[model.Extent, ...]
    ) -> Iterator[model.Extent]:
        for batch in extents.batches(wanted):
            ours, theirs = self._checksums(seed, batch)
            for extent, one, other in zip(batch, ours, theirs, strict=True):
                if one != other:
                    yield extent

    def _checksums(
        self, seed: model.Seed, wanted: tuple[model.Extent, ...]
    ) -> tuple[list[str], list[str]]:
        """Have both hosts read the same extents at the same time."""
        ours = task.Task(
            'digest',
            lambda cancelled: checksums.of(
                seed.source,
                wanted,
                cancelled,
                by_content=seed.by_content,
                timeout=self.settings.stall_timeout,
            ),
        )
        try:
            theirs = self.destination.digest(seed, wanted, self.cancelled)
            while not ours.wait(self.settings.poll_interval):
                if self.cancelled.is_set():
                    raise exception.Aborted(guest=self.destination.guest)
        finally:
            ours.cancel()
        if ours.failure is not None:
            raise ours.failure
        return ours.result, theirs
