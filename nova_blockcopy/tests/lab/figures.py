# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of what is measured. Pure."""

import dataclasses
import itertools
from collections.abc import Iterable
from collections.abc import Mapping

from nova_blockcopy import states

#: Bytes of an Ethernet frame as a traffic shaper counts it, and of what TCP
#: carries in it: 1500, less the headers of IPv4 and of TCP with its time
#: stamps.
FRAME = 1514
PAYLOAD = 1448


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A figure, and what it has to be: at most the bound, or at least it."""

    name: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        if self.at_least:
            return self.value >= self.bound
        return self.value <= self.bound

    def __str__(self) -> str:
        sign = '>=' if self.at_least else '<='
        return f'{self.name}: {self.value:.3g}, wanted {sign} {self.bound:g}'


def phases(began: Mapping[states.State, float]) -> dict[states.State, float]:
    """How long each state took: until the next one was first seen; seconds.

    The last one has no end, so it is left out.

    :param began: when each state was first seen
    """
    order = sorted(began, key=lambda state: began[state])
    return {
        state: began[after] - began[state]
        for state, after in itertools.pairwise(order)
    }


def window(began: Mapping[states.State, float]) -> float | None:
    """Seconds for which the guest depended on both hosts; None if unknown."""
    ends = (states.State.COPYING, states.State.RELEASING)
    if not all(state in began for state in ends):
        return None
    return began[states.State.RELEASING] - began[states.State.COPYING]


def spread(values: Iterable[float]) -> float:
    """The largest value as a multiple of the smallest."""
    found = list(values)
    return max(found) / min(found)


def line_rate(mbit: int) -> float:
    """Bytes/s that TCP can carry over a link that is limited to so much.

    :param mbit: Mbit/s of Ethernet frames
    """
    return mbit * 1e6 / 8 * PAYLOAD / FRAME


def share(carried_bytes: float, seconds: float, mbit: int) -> float:
    """Bytes carried, as a share of all the bits of a link."""
    return carried_bytes * 8 / seconds / (mbit * 1e6)
