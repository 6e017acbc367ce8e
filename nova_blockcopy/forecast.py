# SPDX-License-Identifier: Apache-2.0
"""The forecast of the remote window, and the decision on another round. Pure.

The remote window is the time in which the guest depends on both hosts.
"""

import dataclasses
import enum

#: Seconds that a round takes besides its copying.
_ROUND_S = 1.0
#: Another round is worth its time if it takes at most this share of the time
#: that seeding has taken so far: the next delta is then about this share of
#: the present delta.
_WORTH = 0.1
#: Another round hardly shortens a window of so many seconds.
_SHORT_S = 0.1


class Advice(enum.StrEnum):
    """The decision after a round of seeding."""

    SWITCH = 'switch over'
    AGAIN = 'seed another round'
    #: The window is too long, and another round is useless or not allowed.
    SHORTFALL = 'the guest writes too fast'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The forecast for the copying after the switchover.

    ``delta_bytes`` are left to copy. ``rate`` is the rate of the last round
    of seeding, in bytes/s.
    """

    delta_bytes: int
    rate: float

    @property
    def window_s(self) -> float | None:
        """Seconds of the remote window that the copying takes.

        None if the rate is unknown.
        """
        if not self.delta_bytes:
            return 0.0
        return self.delta_bytes / self.rate if self.rate else None

    def __str__(self) -> str:
        """Describe the forecast for logs and journals."""
        left = f'{self.delta_bytes / 2**20:.1f} MiB are left'
        if self.window_s is None:
            return f'{left}, at a rate that is not known'
        rate_ = f'{self.rate / 2**20:.1f} MiB/s'
        return f'{left}, {self.window_s:.1f} s at {rate_}'


def rate(moved_bytes: int, elapsed_s: float, before: float) -> float:
    """The rate of a round of seeding, in bytes/s.

    :param moved_bytes: bytes that the round has copied
    :param elapsed_s: seconds that the copying took
    :param before: the rate of the round before, in bytes/s; 0 = none. The
        function returns this rate if the round was too short for a
        measurement.
    """
    if elapsed_s < 0.1 or (before and moved_bytes < 4 * 2**20):
        return before or moved_bytes / max(elapsed_s, 0.1)
    return moved_bytes / elapsed_s


def advise(
    now: Forecast,
    before: Forecast | None,
    *,
    longest: float,
    rounds_left: int,
    spent_s: float,
) -> Advice:
    """Decide whether another round of seeding follows. Runs on the source.

    The seeding of a large disk takes long, so the guest writes much meanwhile.
    If another round takes little time compared with the seeding so far, the
    round follows even if the window is short enough. So the window does not
    grow with the size of the disk.

    :param now: the forecast after this round
    :param before: the forecast after the round before
    :param longest: seconds that the window may take
    :param rounds_left: how many rounds are still allowed
    :param spent_s: seconds that all rounds together have taken
    """
    if now.window_s is None:
        return Advice.SWITCH
    if now.window_s <= longest:
        cheap = now.window_s + _ROUND_S <= _WORTH * spent_s
        again = rounds_left and cheap and now.window_s > _SHORT_S
        return Advice.AGAIN if again else Advice.SWITCH
    if not rounds_left or (
        before is not None and now.delta_bytes >= before.delta_bytes
    ):
        return Advice.SHORTFALL
    return Advice.AGAIN
