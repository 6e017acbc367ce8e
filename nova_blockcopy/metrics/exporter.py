# SPDX-License-Identifier: Apache-2.0
"""The observer that keeps the metrics of this host in a file.

A thread of its own writes the file, so that a slow file system delays no
migration.
"""

import contextlib
import importlib.metadata
import shutil
import threading
import time
from collections.abc import Iterator

from nova_blockcopy import bandwidth
from nova_blockcopy import conf
from nova_blockcopy import events
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.metrics import catalogue
from nova_blockcopy.metrics import tally
from nova_blockcopy.metrics import text
from nova_blockcopy.metrics import textfile
from nova_blockcopy.records import journal
from nova_blockcopy.records import keeping
from nova_blockcopy.records import report
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import task

LOG = logging.getLogger(__name__)

#: Seconds between two writes, unless a migration begins, ends or changes its
#: phase. Prometheus usually asks for new figures as often.
_INTERVAL = 15.0
#: Events that come too often for a write each.
_FREQUENT = (events.Progressed, events.Heard, events.Retried)


class Exporter:
    """Writes the metrics of all migrations of this host. Thread-safe.

    A process has one exporter for each host.

    :param settings: those of the host, with a ``metrics_dir``
    """

    def __init__(self, settings: conf.Settings) -> None:
        self._settings = settings
        self._journal = journal.Journal(settings.journal_dir)
        self._reports = report.Reports(settings.journal_dir)
        self._kept = keeping.Notes(settings.journal_dir)
        self._tally = tally.Tally()
        self._file = textfile.Textfile(settings.metrics_dir)
        self._door = threading.Lock()
        self._due = threading.Event()
        self._writer: task.Task | None = None

    def __call__(self, event: events.Event) -> None:
        with self._door:
            self._tally.take(event, time.time())
        if not isinstance(event, _FREQUENT):
            self._due.set()

    def start(self) -> 'Exporter':
        """Begin to write, until this process ends or :meth:`close`."""
        self._writer = task.Task('metrics', self._work)
        return self

    def close(self, timeout: float) -> None:
        """Write for the last time.

        :param timeout: seconds that the writer has to come to its end
        """
        if self._writer is not None:
            self._writer.cancel()
            self._due.set()
            self._writer.wait(timeout)

    def _work(self, cancelled: threading.Event) -> None:
        while not cancelled.is_set():
            self._write()
            self._due.wait(_INTERVAL)
            self._due.clear()
        self._write()

    def _write(self) -> None:
        try:
            read = [*self._journals(), *self._space()]
            with self._door:
                counted = list(self._tally.samples(time.time()))
                content = text.render([self._info(), *counted, *read])
            self._file.write(content)
        except Exception:  # the next attempt may succeed
            LOG.exception('The metrics cannot be written')

    def _info(self) -> tally.Sample:
        labels = (
            importlib.metadata.version('nova-blockcopy'),
            self._settings.driver,
            self._settings.mode,
        )
        return catalogue.INFO, labels, 1

    def _journals(self) -> Iterator[tally.Sample]:
        """The figures of the journals, which commands change, too."""
        unreadable, roles = 0, dict.fromkeys(model.Role, 0)
        for guest in self._journal.guests():
            try:
                record = self._journal.find(guest)
            except exception.JournalError:
                unreadable += 1
                continue
            if record is None:
                continue
            roles[record.role] += 1
            if self._is_unsettled(record):
                labels = guest, record.role, record.peer, record.state
                yield catalogue.UNSETTLED, labels, 1
        for role, number in roles.items():
            yield catalogue.JOURNALS, (role,), number
        yield catalogue.UNREADABLE, (), unreadable

    def _space(self) -> Iterator[tally.Sample]:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self._settings.delta_dir).free
            yield catalogue.DELTA_ROOM, (), free
        least = self._settings.delta_min_free * bandwidth.MIB
        yield catalogue.DELTA_MIN, (), least
        yield catalogue.KEPT, (), len(self._kept.guests())

    def _is_unsettled(self, record: journal.Record) -> bool:
        if record.state is states.State.STUCK:
            return True
        found = self._reports.find(record.guest, record.migration)
        return found is not None and found.failure is not None


def observers(settings: conf.Settings) -> tuple[events.Observer, ...]:
    """The exporter of this host, if ``metrics_dir`` says so."""
    return (Exporter(settings).start(),) if settings.metrics_dir else ()
