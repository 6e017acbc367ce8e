# SPDX-License-Identifier: Apache-2.0
"""A clock that measures how long a job has made no progress."""

import time


class Stall:
    """A clock that starts again whenever a number changes."""

    def __init__(self) -> None:
        self._last = -1
        self._since = time.monotonic()

    def seconds(self, number: int) -> float:
        """Return the seconds since the number last changed.

        :param number: the present number, such as bytes that were processed
        """
        if number != self._last:
            self._last, self._since = number, time.monotonic()
        return time.monotonic() - self._since
