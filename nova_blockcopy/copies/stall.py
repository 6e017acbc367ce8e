# SPDX-License-Identifier: Apache-2.0
"""How long nothing has moved."""

import time


class Stall:
    """A clock that starts again whenever a number has changed."""

    def __init__(self) -> None:
        self._last = -1
        self._since = time.monotonic()

    def seconds(self, number: int) -> float:
        """Seconds since the number was last another one."""
        if number != self._last:
            self._last, self._since = number, time.monotonic()
        return time.monotonic() - self._since
