# SPDX-License-Identifier: Apache-2.0
"""A histogram: how many values are at most as large as each bound. Pure."""

import bisect
import itertools
import math


class Distribution:
    """The values of one histogram.

    :param bounds: the upper limits of the buckets, in order
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = (*bounds, math.inf)
        self._counts = [0] * len(self._bounds)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[float, int]]:
        """The bounds, each with the number of values up to it."""
        sums = itertools.accumulate(self._counts)
        return list(zip(self._bounds, sums, strict=True))
