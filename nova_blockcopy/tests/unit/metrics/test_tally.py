# SPDX-License-Identifier: Apache-2.0
"""The figures that events of migrations add up to."""

import dataclasses
from typing import Any

from nova_blockcopy import events
from nova_blockcopy import forecast
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.metrics import catalogue
from nova_blockcopy.metrics import tally
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

State = states.State
ONE = (samples.UUID, 'source')
DISK = (*ONE, 'vda')


class TestTally(base.TestCase):
    def setUp(self):
        super().setUp()
        self.tally = tally.Tally()
        self.subject = samples.subject()
        self.now = 1000.0

    def take(self, kind: Any, **values: Any) -> None:
        self.tally.take(kind(subject=self.subject, **values), self.now)

    def start(self, state=State.PREPARING):
        self.take(events.Started, state=state, limit=7, disks={'vda': 64})

    def change(self, before, state, seconds):
        self.now += seconds
        self.take(
            events.PhaseChanged, before=before, state=state, seconds=seconds
        )

    def end(self, outcome=events.Outcome.COMPLETED, **values):
        phases = {State.PREPARING: 1.0, **values.pop('phases', {})}
        self.take(
            events.Ended,
            outcome=outcome,
            reason='',
            copied_bytes=100,
            phases=phases,
            **values,
        )

    def figures(self, done=30):
        disk = model.DiskProgress(
            disk='vda', processed_bytes=done, total_bytes=50
        )
        self.take(
            events.Progressed,
            progress=progress.Progress(
                state=State.SEEDING,
                disks=(disk,),
                rates={'vda': 5.0},
                limit=9,
                forecast=forecast.Forecast(delta_bytes=4, rate=8.0),
            ),
        )

    def value(self, metric, *labels):
        """The value of a metric; None if there is no such series."""
        found = {
            (each, values): value
            for each, values, value in self.tally.samples(self.now)
        }
        return found.get((metric, tuple(labels)))

    def spread(self, metric, *labels):
        return dict(self.value(metric, *labels).buckets())

    def series_of_guest(self):
        return {
            metric
            for metric, labels, _value in self.tally.samples(self.now)
            if samples.UUID in labels
        }

    def test_counters_begin_at_zero(self):
        """A rate is not known from the first value on, but from two."""
        for outcome in events.Outcome:
            self.assertEqual(
                0, self.value(catalogue.MIGRATIONS, 'source', outcome)
            )
        self.assertEqual(0, self.value(catalogue.RETRIES, 'source', 'piece'))

    def test_outcomes_are_counted_by_side(self):
        for _time in range(2):
            self.start()
            self.end(events.Outcome.UNDONE)
        self.assertEqual(
            2, self.value(catalogue.MIGRATIONS, 'source', 'undone')
        )
        self.assertEqual(
            0, self.value(catalogue.MIGRATIONS, 'destination', 'undone')
        )
        self.assertEqual(200, self.value(catalogue.COPIED, 'source'))

    def test_a_rollback_has_the_phase_that_was_reached(self):
        self.start()
        self.change(State.PREPARING, State.SEEDING, 1)
        self.change(State.SEEDING, State.UNDOING, 1)
        self.assertEqual(
            1, self.value(catalogue.ROLLBACKS, 'source', 'seeding')
        )

    def test_each_second_of_a_phase_counts_once(self):
        self.start()
        self.change(State.PREPARING, State.SEEDING, 1)
        self.change(State.SEEDING, State.FREEZING, 4)
        self.change(State.FREEZING, State.SEEDING, 2)
        self.assertEqual(4, self.value(catalogue.PHASES, *ONE, 'seeding'))
        self.end(phases={State.SEEDING: 9.0, State.FREEZING: 2.0})
        for phase, seconds in (
            ('preparing', 1),
            ('seeding', 9),
            ('freezing', 2),
        ):
            self.assertEqual(
                (seconds, seconds),
                (
                    self.value(catalogue.PHASE_SECONDS, 'source', phase),
                    self.value(catalogue.PHASES, *ONE, phase),
                ),
            )

    def test_the_present_phase_has_its_begin(self):
        self.start()
        self.change(State.PREPARING, State.SEEDING, 5)
        self.assertEqual(1005, self.value(catalogue.PHASE, *ONE, 'seeding'))
        self.assertIsNone(self.value(catalogue.PHASE, *ONE, 'preparing'))
        self.assertEqual(1000, self.value(catalogue.START, *ONE))

    def test_the_remote_window_begins_and_ends(self):
        self.start()
        self.assertIsNone(self.value(catalogue.WINDOW_START, *ONE))
        self.change(State.SWITCHING, State.COPYING, 5)
        self.change(State.COPYING, State.READY, 3)
        self.assertEqual(1005, self.value(catalogue.WINDOW_START, *ONE))
        self.change(State.PIVOTING, State.RELEASING, 1)
        self.assertIsNone(self.value(catalogue.WINDOW_START, *ONE))
        self.end(phases={State.COPYING: 3.0, State.READY: 0.5})
        self.assertEqual(3.5, self.value(catalogue.WINDOW_TOOK, *ONE))
        spread = self.spread(catalogue.WINDOW, 'source')
        self.assertEqual((0, 1), (spread[2.5], spread[5.0]))

    def test_a_window_that_a_restart_interrupts(self):
        self.start(State.PIVOTING)
        self.assertEqual(1000, self.value(catalogue.WINDOW_START, *ONE))

    def test_the_figures_of_a_disk(self):
        self.start()
        self.figures()
        self.assertEqual(
            [64, 30, 20, 5.0],
            [
                self.value(metric, *DISK)
                for metric in (
                    catalogue.DISK_SIZE,
                    catalogue.DISK_COPIED,
                    catalogue.DISK_LEFT,
                    catalogue.DISK_RATE,
                )
            ],
        )
        self.assertEqual(9, self.value(catalogue.LIMIT, *ONE))
        self.assertEqual(0.5, self.value(catalogue.FORECAST, *ONE))

    def test_a_silent_destination(self):
        self.start()
        self.take(events.Heard, silent_s=95.0)
        self.assertEqual(95, self.value(catalogue.SILENT, *ONE))
        self.take(events.Heard, silent_s=0.0)
        self.assertEqual(0, self.value(catalogue.SILENT, *ONE))

    def test_retries(self):
        self.start()
        self.take(events.Retried, act=events.Retry.COPY)
        self.assertEqual(1, self.value(catalogue.RETRIES, 'source', 'copy'))

    def test_nothing_of_the_present_outlives_the_end(self):
        """An alert would wait for ever."""
        self.start()
        self.change(State.SWITCHING, State.COPYING, 1)
        self.figures()
        self.take(events.Heard, silent_s=95.0)
        self.end(phases={State.COPYING: 1.0}, longest_stop_s=0.2)
        gone = {
            *(catalogue.PHASE, catalogue.WINDOW_START, catalogue.FORECAST),
            *(catalogue.SILENT, catalogue.DISK_LEFT, catalogue.DISK_RATE),
        }
        self.assertEqual(
            set(catalogue.OF_MIGRATION) - gone, self.series_of_guest()
        )
        self.assertEqual(30, self.value(catalogue.DISK_COPIED, *DISK))
        self.assertEqual(1, self.spread(catalogue.STOP, 'source')[0.25])

    def test_an_ended_migration_is_forgotten_but_counted(self):
        self.start()
        self.end()
        self.now += tally.KEEP_S - 1
        self.assertIn(catalogue.START, self.series_of_guest())
        self.now += 1
        self.assertEqual(set(), self.series_of_guest())
        self.assertEqual(
            1, self.value(catalogue.MIGRATIONS, 'source', 'completed')
        )

    def test_one_that_runs_is_not_forgotten(self):
        self.start()
        self.now += 10 * tally.KEEP_S
        self.assertIn(catalogue.START, self.series_of_guest())

    def test_both_sides_in_one_process(self):
        self.start()
        self.subject = dataclasses.replace(
            self.subject, role=model.Role.DESTINATION
        )
        self.start()
        self.figures()
        self.assertIsNone(self.value(catalogue.DISK_COPIED, *DISK))
        there = (samples.UUID, 'destination', 'vda')
        self.assertEqual(30, self.value(catalogue.DISK_COPIED, *there))
