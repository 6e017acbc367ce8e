# SPDX-License-Identifier: Apache-2.0
"""The progress of one migration: state, bytes, rates and time left. Pure."""

import collections
import dataclasses
from collections.abc import Callable
from collections.abc import Iterable

from nova_blockcopy import forecast as forecasts
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

    ``rate`` is in bytes/s, for all disks together, and ``rates`` has that of
    each disk. ``limit`` is the bandwidth limit for all disks together, in
    bytes/s; 0 = no limit. ``forecast`` is the last one of the remote window;
    only the source has one, and only in seeded mode.
    """

    state: states.State
    disks: tuple[model.DiskProgress, ...] = ()
    rate: float = 0.0
    rates: dict[str, float] = dataclasses.field(
        default_factory=dict, hash=False
    )
    limit: int = 0
    forecast: forecasts.Forecast | None = None

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
    def percent(self) -> int:
        """The whole per cent of all bytes that are known now; 0 of none."""
        return 100 * self.processed_bytes // max(1, self.total_bytes)

    @property
    def time_left_s(self) -> float | None:
        """Seconds until all bytes are copied at this rate; None if unknown."""
        return _time_left_s(self.remaining_bytes, self.rate)

    def time_left_of(self, disk: model.DiskProgress) -> float | None:
        """The same for one disk at its own rate."""
        left = disk.total_bytes - disk.processed_bytes
        return _time_left_s(left, self.rates.get(disk.disk, 0.0))

    def __str__(self) -> str:
        """The progress in words, for logs."""
        mib = 2**20
        copied = (
            f'{self.state}, {self.processed_bytes // mib} of '
            f'{self.total_bytes // mib} MiB, {self.rate / mib:.1f} MiB/s'
        )
        left = self.time_left_s
        return copied if left is None else f'{copied}, {left:.0f} s left'


def _time_left_s(left: int, rate: float) -> float | None:
    if left <= 0:
        return 0.0
    return left / rate if rate else None


class _Window:
    """The bytes of the last seconds, and their rate."""

    def __init__(self) -> None:
        self._seen: collections.deque[tuple[float, int]] = collections.deque()

    def rate(self, now: float, processed: int) -> float:
        """Take in a figure, and return the rate in bytes/s."""
        self._seen.append((now, processed))
        # a rate needs two points, however old the first one is
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        if ended <= began:
            return 0.0
        return max(0.0, (last - first) / (ended - began))


class Meter:
    """Computes the progress from successive figures.

    A migration has one meter on each host.

    :param clock: returns seconds that never go back (``time.monotonic``)
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._all = _Window()
        self._windows: dict[str, _Window] = {}
        self._disks: dict[str, model.DiskProgress] = {}
        self._last: dict[str, model.DiskProgress] = {}
        #: Bytes that finished rounds of seeding have copied, by disk. The
        #: figures of a disk begin at 0 in each round.
        self._before: dict[str, int] = {}

    def read(
        self, state: states.State, disks: Iterable[model.DiskProgress]
    ) -> Progress:
        """Take in new figures, and return the progress.

        A disk keeps its last figures when its job has ended, and is complete
        when its pivot is proven. Figures that
        begin again, as in another round of seeding, count on top of the
        earlier ones.
        """
        now = self._clock()
        for disk in disks:
            self._take(disk)
        if state is states.State.RELEASING:
            self._complete()
        disks = tuple(self._disks.values())
        return Progress(
            state=state,
            disks=disks,
            rate=self._all.rate(now, sum(d.processed_bytes for d in disks)),
            rates={
                d.disk: self._windows[d.disk].rate(now, d.processed_bytes)
                for d in disks
            },
        )

    def _complete(self) -> None:
        """Count all as copied: QEMU pivots a disk only if nothing is left.

        The last figures before the pivot may lack the last writes.
        """
        for name, disk in self._disks.items():
            self._disks[name] = dataclasses.replace(
                disk, processed_bytes=disk.total_bytes
            )

    def _take(self, disk: model.DiskProgress) -> None:
        self._windows.setdefault(disk.disk, _Window())
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
