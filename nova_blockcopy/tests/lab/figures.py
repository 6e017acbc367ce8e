# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the measurements. Pure."""

import dataclasses
import itertools
from collections.abc import Iterable
from collections.abc import Mapping

from nova_blockcopy import states

#: Bytes of an Ethernet frame as a traffic shaper counts them, and bytes of
#: TCP payload in such a frame: 1500 less the headers of IPv4 and of TCP with
#: time stamps.
FRAME = 1514
PAYLOAD = 1448


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A figure and its bound.

    The figure must be at most the bound, or at least the bound if
    ``at_least`` is set.
    """

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
    """Return the seconds that each state took, without the last one.

    A state ends when the next state is first seen, so the last state has no
    end.

    :param began: when each state was first seen, in seconds
    """
    order = sorted(began, key=lambda state: began[state])
    return {
        state: began[after] - began[state]
        for state, after in itertools.pairwise(order)
    }


def window(began: Mapping[states.State, float]) -> float | None:
    """Return the remote window in seconds; None if its ends are unknown.

    :param began: when each state was first seen, in seconds
    """
    ends = (states.State.COPYING, states.State.RELEASING)
    if not all(state in began for state in ends):
        return None
    return began[states.State.RELEASING] - began[states.State.COPYING]


def spread(values: Iterable[float]) -> float:
    """Return the largest value divided by the smallest."""
    found = list(values)
    return max(found) / min(found)


def line_rate(mbit: int) -> float:
    """Return the TCP payload in bytes/s that a limited link can carry.

    :param mbit: rate of the link in Mbit/s of Ethernet frames
    """
    return mbit * 1e6 / 8 * PAYLOAD / FRAME


def share(carried_bytes: float, seconds: float, mbit: int) -> float:
    """Return the share of a link's capacity that was used, from 0 to 1.

    :param mbit: rate of the link in Mbit/s
    """
    return carried_bytes * 8 / seconds / (mbit * 1e6)
