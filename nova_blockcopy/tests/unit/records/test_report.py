# SPDX-License-Identifier: Apache-2.0
"""The report of a migration is written, kept and removed."""

import os
import stat

from nova_blockcopy import events
from nova_blockcopy import forecast
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.records import journal
from nova_blockcopy.records import report
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

State = states.State
SUBJECT = samples.subject()


def figures(processed, state=State.SEEDING):
    return progress.Progress(
        state=state,
        disks=(
            model.DiskProgress(
                disk='vda', processed_bytes=processed, total_bytes=100
            ),
        ),
        rate=3.5,
        rates={'vda': 3.5},
        limit=8,
        forecast=forecast.Forecast(delta_bytes=5, rate=2.0),
    )


class TestReport(base.TestCase):
    def setUp(self):
        super().setUp()
        self.place = self.directory / 'journal'
        self.reports = report.Reports(str(self.place))
        self.reporter = report.Reporter(self.reports)
        self.path = self.place / 'reports' / f'{samples.UUID}.json'

    def start(self, state=State.PREPARING):
        self.reporter(events.Started(subject=SUBJECT, state=state, limit=0))

    def progress(self, now):
        self.reporter(events.Progressed(subject=SUBJECT, progress=now))

    def end(self, outcome, reason=''):
        self.reporter(
            events.Ended(
                subject=SUBJECT,
                outcome=outcome,
                reason=reason,
                copied_bytes=0,
                phases={},
            )
        )

    def found(self):
        return self.reports.find(samples.UUID, 'm1')

    def test_all_figures_are_read_as_they_were_written(self):
        self.start()
        self.progress(figures(10))
        found = self.found()
        self.assertEqual(figures(10), found.figures)
        self.assertEqual(os.getpid(), found.pid)
        self.assertLessEqual(found.began, found.at)

    def test_nobody_else_may_read_it(self):
        self.start()
        self.progress(figures(10))
        self.assertEqual(0o600, stat.S_IMODE(self.path.stat().st_mode))
        self.assertEqual(0o700, stat.S_IMODE(self.path.parent.stat().st_mode))

    def test_figures_alone_are_written_once_a_second(self):
        self.start()
        self.progress(figures(10))
        self.progress(figures(20))
        self.assertEqual(figures(10), self.found().figures)
        self.patch(report, '_INTERVAL', 0.0)
        self.progress(figures(30))
        self.assertEqual(figures(30), self.found().figures)

    def test_another_state_is_written_at_once(self):
        self.start()
        self.progress(figures(10))
        self.progress(figures(10, State.EXPORTING))
        self.assertIs(State.EXPORTING, self.found().figures.state)

    def test_it_ends_with_the_migration(self):
        self.start()
        self.progress(figures(10))
        self.end(events.Outcome.COMPLETED)
        self.progress(figures(20))
        self.assertFalse(self.path.exists())

    def test_one_that_is_stuck_keeps_the_reason(self):
        self.start()
        self.progress(figures(10))
        self.end(events.Outcome.STUCK, 'no answer')
        self.assertEqual('no answer', self.found().failure.reason)
        self.assertEqual(figures(10), self.found().figures)

    def test_an_attempt_that_failed_is_kept_with_the_figures(self):
        self.start()
        self.progress(figures(10))
        self.reports.fail(samples.UUID, 'm1', 'no answer')
        self.assertEqual('no answer', self.found().failure.reason)
        self.assertEqual(figures(10), self.found().figures)

    def test_the_next_attempt_knows_the_last_failure_and_the_begin(self):
        self.start()
        self.progress(figures(10))
        self.reports.fail(samples.UUID, 'm1', 'no answer')
        began = self.found().began
        self.reporter = report.Reporter(self.reports)
        self.start(State.STUCK)
        self.progress(figures(10, State.UNDOING))
        self.assertEqual('no answer', self.found().failure.reason)
        self.assertEqual(began, self.found().began)

    def test_one_of_another_migration_does_not_count(self):
        self.start()
        self.progress(figures(10))
        self.assertIsNone(self.reports.find(samples.UUID, 'm2'))

    def test_a_broken_one_does_not_count(self):
        self.start()
        self.progress(figures(10))
        for broken in ('', '{', '[]', '{"migration": "m1", "more": 1}'):
            self.path.write_text(broken)
            self.assertIsNone(self.found())

    def test_it_cannot_harm_a_migration(self):
        self.place.write_text('no directory')
        self.start()
        self.progress(figures(10))
        self.reports.fail(samples.UUID, 'm1', 'no answer')
        self.assertIsNone(self.found())

    def test_it_goes_with_the_journal(self):
        records = journal.Journal(str(self.place))
        records.open(samples.record(migration='m1'))
        self.start()
        self.progress(figures(10))
        records.close(samples.UUID)
        self.assertFalse(self.path.exists())
