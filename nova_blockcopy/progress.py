# SPDX-License-Identifier: Apache-2.0
"""The progress of one migration: state, bytes, rate and time left. Pure."""

import collections
import dataclasses
from collections.abc import Callable
from collections.abc import Iterable

from nova_blockcopy import model
from nova_blockcopy import states

#: A function that receives the state of a migration and the figures of its
#: disks. It must return quickly.
Watch = Callable[[states.State, tuple[model.DiskProgress, ...]], None]

#: Seconds over which a rate is measured.
_WINDOW = 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a migration is.

    ``rate`` is in bytes/s, for all disks together.
    """

    state: states.State
    disks: tuple[model.DiskProgress, ...] = ()
    rate: float = 0.0

    @property
    def processed_bytes(self) -> int:
        return sum(disk.processed_bytes for disk in self.disks)

    @property
    def total_bytes(self) -> int:
        return sum(disk.total_bytes for disk in self.disks)

    @property
    def remaining_bytes(self) -> int:
        return self.total_bytes - self.processed_bytes

    @property
    def time_left_s(self) -> float | None:
        """Seconds until all bytes are copied at this rate; None if unknown."""
        if not self.remaining_bytes:
            return 0.0
        return self.remaining_bytes / self.rate if self.rate else None

    def __str__(self) -> str:
        """The progress in words, for logs."""
        mib = 2**20
        copied = (
            f'{self.state}, {self.processed_bytes // mib} of '
            f'{self.total_bytes // mib} MiB, {self.rate / mib:.1f} MiB/s'
        )
        left = self.time_left_s
        return copied if left is None else f'{copied}, {left:.0f} s left'


class Meter:
    """Computes the progress from successive figures. Runs on the source.

    A migration has one meter.

    :param clock: returns seconds that never go back (``time.monotonic``)
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: collections.deque[tuple[float, int]] = collections.deque()
        self._disks: dict[str, model.DiskProgress] = {}
        self._last: dict[str, model.DiskProgress] = {}
        #: Bytes that finished rounds of seeding have copied, by disk. The
        #: figures of a disk begin at 0 in each round.
        self._before: dict[str, int] = {}

    def read(
        self, state: states.State, disks: Iterable[model.DiskProgress]
    ) -> Progress:
        """Take in new figures, and return the progress.

        A disk keeps its last figures when its job has ended. Figures that
        begin again, as in another round of seeding, count on top of the
        earlier ones.
        """
        now = self._clock()
        for disk in disks:
            self._take(disk)
        processed = sum(d.processed_bytes for d in self._disks.values())
        self._seen.append((now, processed))
        # a rate needs two points, however old the first one is
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        return Progress(
            state=state, disks=tuple(self._disks.values()), rate=self._rate()
        )

    def _take(self, disk: model.DiskProgress) -> None:
        last = self._last.get(disk.disk)
        if last is not None and not disk.total_bytes:
            disk = dataclasses.replace(
                last, ready=disk.ready, pivoted=disk.pivoted
            )
        elif last is not None and disk.processed_bytes < last.processed_bytes:
            counted = self._disks[disk.disk].processed_bytes
            self._before[disk.disk] = counted - disk.processed_bytes
        self._last[disk.disk] = disk
        before = self._before.get(disk.disk, 0)
        self._disks[disk.disk] = dataclasses.replace(
            disk,
            processed_bytes=before + disk.processed_bytes,
            total_bytes=before + disk.total_bytes,
        )

    def _rate(self) -> float:
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        if ended <= began:
            return 0.0
        return max(0.0, (last - first) / (ended - began))
