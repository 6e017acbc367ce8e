# SPDX-License-Identifier: Apache-2.0
"""The pauses between the attempts to settle one migration."""

import time

from nova_blockcopy.runtime import log as logging


class Patience:
    """Tells when the next attempt is due. Each pause doubles the last one.

    ``lines`` keeps the log from repeating what the last attempt has logged.

    :param first: seconds after the first attempt
    :param longest: seconds
    """

    def __init__(self, first: float, longest: float) -> None:
        self.lines = logging.Attempts()
        self._pause = first
        self._longest = longest
        self._due_at = 0.0

    @property
    def over(self) -> bool:
        """Whether another attempt is due."""
        return time.monotonic() >= self._due_at

    def failed(self) -> None:
        """Begin the pause after an attempt that has failed."""
        self._due_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, self._longest)
