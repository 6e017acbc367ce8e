# SPDX-License-Identifier: Apache-2.0
"""The progress of a migration in the log of nova-compute, on both hosts."""

import time

from nova_blockcopy import events
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

#: Seconds between two lines.
_INTERVAL = 30.0


class ProgressLog:
    """An observer that logs the figures of one migration from time to time."""

    def __init__(self) -> None:
        self._logged_at = time.monotonic()

    def __call__(self, event: events.Event) -> None:
        now = time.monotonic()
        if (
            isinstance(event, events.Progressed)
            and event.progress.disks
            and now - self._logged_at >= _INTERVAL
        ):
            self._logged_at = now
            LOG.info('%s', event.progress)
