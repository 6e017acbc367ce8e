# SPDX-License-Identifier: Apache-2.0
"""The progress of one migration, for a listener and for the log."""

import time
from collections.abc import Callable

from oslo_log import log as logging

from nova_blockcopy import forecast
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states

LOG = logging.getLogger(__name__)

Listener = Callable[[progress.Progress], None]
#: Seconds between two lines in the log.
_LOG_INTERVAL = 30.0


class Monitor:
    """Turns the figures of both hosts into progress. Runs on the source.

    :param guest: UUID or name, for logs
    :param listener: called with each new progress; must return quickly
    """

    def __init__(self, guest: str, listener: Listener) -> None:
        self.progress = progress.Progress(state=states.State.PREPARING)
        #: Of the time after the switchover; only seeded mode has a forecast.
        self.forecast: forecast.Forecast | None = None
        self._guest = guest
        self._listener = listener
        self._meter = progress.Meter(time.monotonic)
        self._logged_at = time.monotonic()

    def watch(
        self,
        state: states.State,
        disks: tuple[model.DiskProgress, ...] = (),
    ) -> None:
        """Take a state and the figures of disks, and tell the listener."""
        self.progress = self._meter.read(state, disks)
        now = time.monotonic()
        if disks and now - self._logged_at >= _LOG_INTERVAL:
            self._logged_at = now
            LOG.info('Guest %s: %s', self._guest, self.progress)
        try:
            self._listener(self.progress)
        except Exception:  # a listener must not end the migration
            LOG.exception(
                'Guest %s: the listener failed in state %s',
                *(self._guest, state),
            )

    def foresee(self, found: forecast.Forecast) -> None:
        """Keep a forecast of the remote window."""
        self.forecast = found
