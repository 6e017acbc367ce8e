# SPDX-License-Identifier: Apache-2.0
"""Tells the observers of one migration what happens on this host."""

import collections
import dataclasses
import threading
import time
from collections.abc import Iterable

from nova_blockcopy import conf
from nova_blockcopy import events
from nova_blockcopy import forecast
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.migration import progress_log
from nova_blockcopy.records import journal
from nova_blockcopy.records import report
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)


def reporting(
    settings: conf.Settings,
    observers: Iterable[events.Observer] = (),
    limit: int = 0,
) -> 'Monitor':
    """A monitor that keeps a report next to the journal, and a log.

    :param observers: more of them
    :param limit: bytes/s for all disks together; 0 = no limit
    """
    log = progress_log.ProgressLog(settings)
    reporter = report.Reporter(report.Reports(settings.journal_dir))
    return Monitor([log, reporter, *observers], limit)


class Monitor:
    """Turns journal entries and figures into events. Thread-safe.

    The first entry of the journal that it sees is the first event.

    :param observers: called with each event
    :param limit: bytes/s for all disks together; 0 = no limit
    """

    def __init__(
        self, observers: Iterable[events.Observer], limit: int = 0
    ) -> None:
        self.progress = progress.Progress(
            state=states.State.PREPARING, limit=limit
        )
        #: The limit as it is now; bytes/s, 0 = no limit.
        self.limit = limit
        #: The sizes of the disks in bytes, before the journal has them.
        self.sizes: dict[str, int] = {}
        #: What the two hosts have found out about the end; see ``Ended``.
        self.allocated_before: int | None = None
        self.allocated_after: int | None = None
        self.longest_stop_s: float | None = None
        self._observers = tuple(observers)
        self._subject: events.Subject | None = None
        self._state = states.State.PREPARING
        self._ended = False
        self._meter = progress.Meter(time.monotonic)
        #: The disks that move, as far as the journal has them.
        self._moving: set[str] = set()
        self._phases: dict[states.State, float] = collections.defaultdict(
            float
        )
        self._since = time.monotonic()
        self._door = threading.RLock()

    def enter(self, record: journal.Record) -> None:
        """Take an entry of the journal, as soon as it is written."""
        with self._door:
            if self._ended:
                return
            self._moving.update(move.disk for move in record.moves)
            if self._subject is None:
                self._begin(record)
            elif record.state is self._state:
                return
            else:
                self._change(self._subject, record)
            self.watch(record.state)

    def watch(
        self,
        state: states.State,
        disks: tuple[model.DiskProgress, ...] = (),
    ) -> None:
        """Take a state and the figures of disks.

        The figures may come from the other host. Those of a disk that does
        not move are left out, or a host that lies could fill the memory.
        """
        with self._door:
            known = self._moving | self.sizes.keys()
            self.progress = dataclasses.replace(
                self._meter.read(
                    state,
                    [
                        each
                        for each in disks
                        if not known or each.disk in known
                    ],
                ),
                limit=self.limit,
                forecast=self.progress.forecast,
            )
            if self._subject is not None and not self._ended:
                self._tell(
                    events.Progressed(
                        subject=self._subject, progress=self.progress
                    )
                )

    def foresee(self, found: forecast.Forecast) -> None:
        """Take a forecast of the remote window."""
        with self._door:
            self.progress = dataclasses.replace(self.progress, forecast=found)

    def retry(self, act: events.Retry) -> None:
        """Tell that an act has failed, and is done again."""
        with self._door:
            if self._subject is not None and not self._ended:
                self._tell(events.Retried(subject=self._subject, act=act))

    def hear(self, silent_s: float) -> None:
        """Tell for how long the destination has not answered.

        :param silent_s: seconds
        """
        with self._door:
            if self._subject is not None and not self._ended:
                self._tell(
                    events.Heard(subject=self._subject, silent_s=silent_s)
                )

    def end(self, outcome: events.Outcome, reason: str = '') -> None:
        """Tell that the engine has come to its end, once."""
        with self._door:
            if self._subject is None or self._ended:
                return
            self._ended = True
            self._count()
            self._tell(
                events.Ended(
                    subject=self._subject,
                    outcome=outcome,
                    reason=reason,
                    copied_bytes=self.progress.processed_bytes,
                    phases=dict(self._phases),
                    longest_stop_s=self.longest_stop_s,
                    allocated_before=self.allocated_before,
                    allocated_after=self.allocated_after,
                )
            )

    def _begin(self, record: journal.Record) -> None:
        self._subject = events.Subject(
            migration=record.migration,
            guest=record.guest,
            name=record.name,
            role=record.role,
            mode=record.mode,
            peer=record.peer,
        )
        self._state = record.state
        self._since = time.monotonic()
        self._tell(
            events.Started(
                subject=self._subject,
                state=record.state,
                limit=self.limit,
                disks=self.sizes
                or {move.disk: move.size_bytes for move in record.moves},
                home=record.home.uri if record.home else '',
                destination=record.destination.uri
                if record.destination
                else '',
            )
        )

    def _change(self, subject: events.Subject, record: journal.Record) -> None:
        seconds = self._count()
        before, self._state = self._state, record.state
        self._tell(
            events.PhaseChanged(
                subject=subject,
                before=before,
                state=record.state,
                note=record.history[-1].note if record.history else '',
                seconds=seconds,
            )
        )

    def _count(self) -> float:
        """Count the seconds of the present state up to now."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        self._phases[self._state] += seconds
        return seconds

    def _tell(self, event: events.Event) -> None:
        for observer in self._observers:
            try:
                observer(event)
            except Exception:  # an observer must not end the migration
                LOG.exception('An observer failed at %s', type(event).__name__)
