# SPDX-License-Identifier: Apache-2.0
"""The course of a migration in the log of nova-compute, on both hosts."""

import contextlib
import importlib.metadata
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Protocol

from nova_blockcopy import conf
from nova_blockcopy import events
from nova_blockcopy import lines
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import task

LOG = logging.getLogger(__name__)

#: Seconds between two lines with figures.
_INTERVAL = 30.0
#: Seconds without an answer that are worth a line.
_SILENCE = 10.0


class Monitored(Protocol):
    """A monitor of a migration."""

    @property
    def progress(self) -> progress.Progress: ...

    def hear(self, silent_s: float) -> None: ...


class ProgressLog:
    """An observer that logs the begin, each phase and the end."""

    def __init__(self, settings: conf.Settings) -> None:
        self._settings = settings

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.Started():
                LOG.info('%s', lines.start(_version(), event, self._host()))
            case events.PhaseChanged():
                LOG.info('%s', lines.phase(event))
            case events.Ended():
                LOG.info('%s', lines.end(event, self._verified(event)))

    def _host(self) -> lines.Host:
        return lines.Host(
            driver=self._settings.driver,
            export_address=self._settings.export_address,
            tls=self._settings.export_tls,
        )

    def _verified(self, event: events.Event) -> model.Verify | None:
        if event.subject.mode is model.Mode.DIRECT:
            return None
        return self._settings.verification(tls=self._settings.export_tls)


@contextlib.contextmanager
def beating(
    monitor: Monitored, silent_s: Callable[[], float]
) -> Iterator[None]:
    """Log the figures every 30 seconds, whatever the block of code waits for.

    The observers hear for how long the destination has been silent.

    Runs on the source.

    :param monitor: has the latest figures
    :param silent_s: returns the seconds for which the destination has left a
        message without an answer
    """

    def beat(cancelled: threading.Event) -> None:
        while not cancelled.wait(_INTERVAL):
            silent = silent_s()
            monitor.hear(silent)
            if silent < _SILENCE:
                LOG.info('%s', lines.figures(monitor.progress))
            else:
                LOG.info('%s', lines.silence(monitor.progress, silent))

    heart = task.Task('heartbeat', beat)
    try:
        yield
    finally:
        heart.cancel()
        heart.wait(_INTERVAL)


def _version() -> str:
    return importlib.metadata.version('nova-blockcopy')
