# SPDX-License-Identifier: Apache-2.0
"""The live report of a migration, for the commands of an operator.

The engine has the figures only in its memory. So it also writes them into a
small file for each guest, next to the journal. The file is no record: nothing
is decided by it, it need not survive a loss of power, and a failure to write
it does not concern the migration.
"""

import dataclasses
import json
import os
import pathlib
import threading
import time

from nova_blockcopy import events
from nova_blockcopy import exception
from nova_blockcopy import progress
from nova_blockcopy import wire
from nova_blockcopy.records import durable
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

#: Seconds between two writes while only the figures change.
_INTERVAL = 1.0
_DIRECTORY = 'reports'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed attempt to end a migration.

    ``at`` is the time in UTC, in ISO 8601.
    """

    at: str
    reason: wire.Text


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The migration of one guest as the engine on this host sees it.

    ``migration`` is the id of the migration. ``began`` and ``at`` are the
    times of the engine's begin and of the last figures, in UTC, in ISO 8601.
    ``pid`` is the process of the engine, and ``figures`` are those of the
    time ``at``. ``failure`` is the last attempt to
    end the migration, if that has failed.
    """

    migration: str
    began: str = ''
    at: str = ''
    pid: int = 0
    figures: progress.Progress | None = None
    failure: Failure | None = None


class Reports:
    """The reports of one host, one file for each guest.

    :param directory: the directory of the journals
    """

    def __init__(self, directory: str) -> None:
        self._directory = pathlib.Path(directory) / _DIRECTORY

    def find(self, guest: str, migration: str) -> Report | None:
        """Read the report about a migration.

        :param guest: UUID
        :param migration: the id of the migration
        :returns: None if there is no report of it, or none that can be read
        """
        try:
            found = durable.load(self._path(guest), Report)
        except exception.NoteError as e:
            LOG.debug('No report about guest %s: %s', guest, e)
            return None
        if found is None or found.migration != migration:
            return None
        return found

    def write(self, guest: str, report: Report) -> None:
        """Replace the report about a guest, if that is possible.

        :param guest: UUID
        """
        path = self._path(guest)
        try:
            durable.make_directory(str(self._directory), 0o700)
            with durable.replacing(path) as f:
                f.write(json.dumps(wire.pack(report)).encode() + b'\n')
        except OSError as e:
            LOG.debug('The report %s cannot be written: %s', path, e)

    def fail(self, guest: str, migration: str, reason: str) -> None:
        """Note that an attempt to end a migration has failed.

        :param guest: UUID
        :param migration: the id of the migration
        """
        known = self.find(guest, migration) or Report(migration=migration)
        failure = Failure(at=durable.now(), reason=reason)
        self.write(guest, dataclasses.replace(known, failure=failure))

    def remove(self, guest: str) -> None:
        """Remove the report about a guest, if there is one."""
        pathlib.Path(self._path(guest)).unlink(missing_ok=True)

    def _path(self, guest: str) -> str:
        return str(self._directory / f'{os.path.basename(guest)}.json')


class Reporter:
    """An observer that keeps the report of one migration. Thread-safe.

    :param reports: those of this host
    """

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._report: Report | None = None
        self._written_at = 0.0
        self._door = threading.Lock()

    def __call__(self, event: events.Event) -> None:
        with self._door:
            guest = event.subject.guest
            if isinstance(event, events.Started):
                self._report = self._first(event)
            if self._report is None:
                return
            if isinstance(event, events.Progressed):
                self._note(guest, self._report, event.progress)
            elif isinstance(event, events.Ended):
                self._end(guest, self._report, event)
                self._report = None

    def _first(self, event: events.Started) -> Report:
        subject = event.subject
        known = self._reports.find(subject.guest, subject.migration)
        return Report(
            migration=subject.migration,
            began=(known and known.began) or durable.now(),
            pid=os.getpid(),
            failure=known.failure if known else None,
        )

    def _note(
        self, guest: str, before: Report, now: progress.Progress
    ) -> None:
        shown = before.figures
        self._report = dataclasses.replace(
            before, at=durable.now(), figures=now
        )
        changed = shown is None or shown.state is not now.state
        if changed or time.monotonic() - self._written_at >= _INTERVAL:
            self._written_at = time.monotonic()
            self._reports.write(guest, self._report)

    def _end(self, guest: str, last: Report, event: events.Ended) -> None:
        if event.outcome is events.Outcome.STUCK:
            failure = Failure(at=durable.now(), reason=event.reason)
            last = dataclasses.replace(last, at=durable.now(), failure=failure)
            self._reports.write(guest, last)
        else:
            self._reports.remove(guest)
