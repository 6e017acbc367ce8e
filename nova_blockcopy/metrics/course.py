# SPDX-License-Identifier: Apache-2.0
"""The course of one migration, as metrics. Pure."""

import collections
from collections.abc import Iterator

from nova_blockcopy import events
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.metrics import catalogue

#: A metric, the values of its labels, and its own value.
Value = tuple[catalogue.Metric, tuple[str, ...], float]


class Course:
    """One migration since its begin, or since the restart of this process.

    :param started: the first event
    :param now: seconds since the epoch
    """

    def __init__(self, started: events.Started, now: float) -> None:
        self.phases: dict[states.State, float] = collections.defaultdict(float)
        self.ended_at: float | None = None
        self._subject = started.subject
        self._labels = started.subject.guest, started.subject.role
        self._sizes = started.disks
        self._limit = started.limit
        self._began_at = now
        self._state = started.state
        self._since = now
        self._remote_since = now if started.state in events.REMOTE else None
        self._figures: progress.Progress | None = None
        self._silent_s: float | None = None
        self._window_s: float | None = None

    def take(self, event: events.Event, now: float) -> None:
        """Take in an event.

        :param now: seconds since the epoch
        """
        match event:
            case events.PhaseChanged():
                self._change(event, now)
            case events.Progressed():
                self._figures = event.progress
                self._limit = event.progress.limit
            case events.Heard():
                self._silent_s = event.silent_s
            case events.Ended():
                self.ended_at = now
                self.phases.update(event.phases)
                self._window_s = event.remote_window_s

    def samples(self) -> Iterator[Value]:
        """The present values."""
        subject, labels = self._subject, self._labels
        yield (
            catalogue.MIGRATION,
            (
                *labels,
                *(subject.migration, subject.name, subject.peer, subject.mode),
            ),
            1,
        )
        yield catalogue.START, labels, self._began_at
        yield catalogue.LIMIT, labels, self._limit
        for phase, seconds in self.phases.items():
            yield catalogue.PHASES, (*labels, phase), seconds
        for metric, value in self._optional():
            if value is not None:
                yield metric, labels, value
        if self.ended_at is None:
            yield catalogue.PHASE, (*labels, self._state), self._since
        yield from self._disks()

    def _optional(self) -> Iterator[tuple[catalogue.Metric, float | None]]:
        if self.ended_at is not None:
            yield catalogue.WINDOW_TOOK, self._window_s
            return
        forecast = self._figures and self._figures.forecast
        yield catalogue.WINDOW_START, self._remote_since
        yield catalogue.SILENT, self._silent_s
        yield catalogue.FORECAST, forecast.window_s if forecast else None

    def _disks(self) -> Iterator[Value]:
        for disk, size in self._sizes.items():
            yield catalogue.DISK_SIZE, (*self._labels, disk), size
        if self._figures is None:
            return
        for each in self._figures.disks:
            labels = *self._labels, each.disk
            yield catalogue.DISK_COPIED, labels, each.processed_bytes
            if self.ended_at is None:
                left = each.total_bytes - each.processed_bytes
                rate = self._figures.rates.get(each.disk, 0.0)
                yield catalogue.DISK_LEFT, labels, left
                yield catalogue.DISK_RATE, labels, rate

    def _change(self, changed: events.PhaseChanged, now: float) -> None:
        self.phases[changed.before] += changed.seconds
        self._state, self._since = changed.state, now
        if changed.state not in events.REMOTE:
            self._remote_since = None
        elif self._remote_since is None:
            self._remote_since = now
