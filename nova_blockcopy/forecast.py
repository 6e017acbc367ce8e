# SPDX-License-Identifier: Apache-2.0
"""How long a guest will depend on two hosts, and what to do about it. Pure."""

import dataclasses
import enum

#: Seconds that a round takes, besides its copying.
_ROUND_S = 1.0
#: Another round is worth its time if it takes at most this share of the time
#: that was spent on seeding: it leaves about that share of what is left now.
_WORTH = 0.1
#: Seconds below which a window cannot be made much shorter.
_SHORT_S = 0.1


class Advice(enum.StrEnum):
    """What to do after a round of seeding."""

    SWITCH = 'switch over'
    AGAIN = 'seed another round'
    #: Another round would be of no use, or none is left.
    SHORTFALL = 'the guest writes too fast'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Of the time after the switchover: bytes, bytes/s and seconds."""

    delta_bytes: int
    rate: float

    @property
    def window_s(self) -> float | None:
        """Seconds for which the guest will depend on both hosts, if known."""
        if not self.delta_bytes:
            return 0.0
        return self.delta_bytes / self.rate if self.rate else None

    def __str__(self) -> str:
        """In words, for logs and journals."""
        left = f'{self.delta_bytes / 2**20:.1f} MiB are left'
        if self.window_s is None:
            return f'{left}, at a rate that is not known'
        rate_ = f'{self.rate / 2**20:.1f} MiB/s'
        return f'{left}, {self.window_s:.1f} s at {rate_}'


def rate(moved_bytes: int, elapsed_s: float, before: float) -> float:
    """The rate of a round of seeding, in bytes/s.

    :param before: of the round before; it stands where this one was too
        short to tell
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
    """Decide on another round.

    The larger a disk, the more a guest writes while it is seeded. So a round
    follows that is short against that, and the window does not grow with the
    disk.

    :param before: the forecast of the round before this one
    :param longest: seconds that the window may take
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
