# SPDX-License-Identifier: Apache-2.0
"""The figures of one host, counted from the events of its migrations. Pure."""

import collections
import itertools
from collections.abc import Iterator

from nova_blockcopy import events
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.metrics import catalogue
from nova_blockcopy.metrics import course
from nova_blockcopy.metrics import distribution

#: A metric, the values of its labels, and its own value.
Sample = tuple[
    catalogue.Metric, tuple[str, ...], float | distribution.Distribution
]
#: Seconds for which the last figures of an ended migration are shown.
KEEP_S = 300.0


class Tally:
    """Counts since the start of the process, and the present migrations."""

    def __init__(self) -> None:
        self._counts: dict[tuple[catalogue.Metric, tuple[str, ...]], float] = (
            collections.defaultdict(float)
        )
        self._spread: dict[
            tuple[catalogue.Metric, tuple[str, ...]], distribution.Distribution
        ] = {}
        self._courses: dict[tuple[str, str], course.Course] = {}
        # a rate needs the value from before the first event
        for role, outcome in itertools.product(model.Role, events.Outcome):
            self._count(catalogue.MIGRATIONS, 0, role, outcome)
        for role, act in itertools.product(model.Role, events.Retry):
            self._count(catalogue.RETRIES, 0, role, act)
        for role in model.Role:
            self._count(catalogue.COPIED, 0, role)

    def take(self, event: events.Event, now: float) -> None:
        """Count an event.

        :param now: seconds since the epoch
        """
        subject = event.subject
        key = subject.guest, subject.role
        if isinstance(event, events.Started):
            self._courses[key] = course.Course(event, now)
        known = self._courses.get(key)
        if known is None:
            return
        before = dict(known.phases)
        known.take(event, now)
        for phase, seconds in known.phases.items():
            self._count(
                catalogue.PHASE_SECONDS,
                seconds - before.get(phase, 0.0),
                subject.role,
                phase,
            )
        match event:
            case events.PhaseChanged(state=states.State.UNDOING):
                self._count(catalogue.ROLLBACKS, 1, subject.role, event.before)
            case events.Retried():
                self._count(catalogue.RETRIES, 1, subject.role, event.act)
            case events.Ended():
                self._end(event)

    def samples(self, now: float) -> Iterator[Sample]:
        """All values at a time. Old migrations are forgotten.

        :param now: seconds since the epoch
        """
        self._courses = {
            key: each
            for key, each in self._courses.items()
            if each.ended_at is None or now - each.ended_at < KEEP_S
        }
        for (metric, labels), value in self._counts.items():
            yield metric, labels, value
        for (metric, labels), spread in self._spread.items():
            yield metric, labels, spread
        for each in self._courses.values():
            for metric, labels, value in each.samples():
                yield metric, labels, value

    def _end(self, ended: events.Ended) -> None:
        role, outcome = ended.subject.role, ended.outcome
        self._count(catalogue.MIGRATIONS, 1, role, outcome)
        self._count(catalogue.COPIED, ended.copied_bytes, role)
        self._observe(catalogue.DURATION, ended.duration_s, role, outcome)
        self._observe(catalogue.WINDOW, ended.remote_window_s, role)
        self._observe(catalogue.STOP, ended.longest_stop_s, role)

    def _count(
        self, metric: catalogue.Metric, value: float, *labels: str
    ) -> None:
        self._counts[metric, labels] += value

    def _observe(
        self, metric: catalogue.Metric, value: float | None, *labels: str
    ) -> None:
        if value is not None:
            self._spread.setdefault(
                (metric, labels), distribution.Distribution(metric.bounds)
            ).add(value)
