# SPDX-License-Identifier: Apache-2.0
"""The course of a migration that has not begun, at one rate. Pure.

The decisions on another round are those of ``forecast``, as in a migration.
"""

import dataclasses
from collections.abc import Iterable

from nova_blockcopy import forecast

#: Bytes of a cluster of a delta. A write fills whole clusters.
_CLUSTER = 4096


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """The writes of a guest to one disk, in one second."""

    bytes_per_s: float = 0.0
    requests_per_s: float = 0.0

    @property
    def clusters_per_s(self) -> float:
        """The bytes by which a delta grows in one second, at most.

        Whole clusters count. A cluster that the guest writes twice counts
        twice, so a delta may grow by less.
        """
        if not self.requests_per_s:
            return self.bytes_per_s
        each = self.bytes_per_s / self.requests_per_s
        return self.requests_per_s * -(-each // _CLUSTER) * _CLUSTER


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One disk that travels.

    ``travel_bytes`` are copied in the first round, or after the switchover in
    direct mode. ``grows`` is the rate at which its delta grows, in bytes/s.
    """

    size_bytes: int
    travel_bytes: int
    grows: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The course at one rate, in bytes/s.

    ``rounds`` are the bytes of each round of seeding. ``seeding_s`` is the
    time of all rounds. ``window_s`` is the time of the copying after the
    switchover; None if it would not end while the guest writes so fast.
    ``delta_bytes`` is the room that the deltas take on the source until then.
    ``converges`` tells whether no limit stops the copying: in seeded mode, the
    window is no longer than ``max_remote_window``.
    """

    rate: float
    rounds: tuple[int, ...] = ()
    seeding_s: float = 0.0
    window_s: float | None
    delta_bytes: int = 0
    converges: bool

    @property
    def travel_bytes(self) -> int:
        """The bytes of all rounds."""
        return sum(self.rounds)


def direct(disks: Iterable[Disk], rate: float) -> Outlook:
    """The course in direct mode, in which the guest writes while all travels.

    :param rate: of the copying, in bytes/s
    """
    known = tuple(disks)
    spare = rate - sum(disk.grows for disk in known)
    left = sum(disk.travel_bytes for disk in known)
    converges = spare > 0 or not left
    return Outlook(
        rate=rate,
        window_s=(left / spare if left else 0.0) if converges else None,
        converges=converges,
    )


def seeded(
    disks: Iterable[Disk], rate: float, *, longest: float, rounds: int
) -> Outlook:
    """The course in seeded mode, as ``SeedBases`` decides on its rounds.

    :param rate: of the copying, in bytes/s
    :param longest: ``max_remote_window``, in seconds
    :param rounds: ``seed_rounds``
    """
    known = tuple(disks)
    left = sum(disk.travel_bytes for disk in known)
    done: list[int] = []
    spent_s, deltas = 0.0, 0
    before: forecast.Forecast | None = None
    while True:
        done.append(left)
        took_s = left / rate
        spent_s += took_s
        left = sum(
            int(min(disk.size_bytes, disk.grows * took_s)) for disk in known
        )
        deltas += left
        now = forecast.Forecast(delta_bytes=left, rate=rate)
        advice = forecast.advise(
            now,
            before,
            longest=longest,
            rounds_left=rounds - len(done),
            spent_s=spent_s,
        )
        if advice is not forecast.Advice.AGAIN:
            return Outlook(
                rate=rate,
                rounds=tuple(done),
                seeding_s=spent_s,
                window_s=now.window_s,
                delta_bytes=deltas,
                converges=advice is not forecast.Advice.SHORTFALL,
            )
        before = now
