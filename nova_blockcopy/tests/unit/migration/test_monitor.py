# SPDX-License-Identifier: Apache-2.0
"""What the observers of a migration are told, and in which order."""

from typing import Any

from nova_blockcopy import events
from nova_blockcopy import forecast
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.migration import monitor
from nova_blockcopy.records import journal
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

State = states.State
DISKS = (model.DiskProgress(disk='vda', processed_bytes=3, total_bytes=4),)


class TestMonitor(base.TestCase):
    def setUp(self):
        super().setUp()
        self.seen: list[Any] = []
        self.monitor = monitor.Monitor([self.seen.append], limit=7)

    def enter(self, state, note=''):
        entry = journal.Entry(at='now', state=state, note=note)
        record = samples.record(state=state, history=(entry,))
        self.monitor.enter(record)
        return record

    def kinds(self):
        return [type(event).__name__ for event in self.seen]

    def test_nothing_is_told_before_there_is_a_journal(self):
        self.monitor.watch(State.PREPARING, DISKS)
        self.monitor.end(events.Outcome.UNDONE)
        self.assertEqual([], self.seen)

    def test_the_first_entry_is_the_start(self):
        record = self.enter(State.PREPARING)
        self.assertEqual(['Started', 'Progressed'], self.kinds())
        started = self.seen[0]
        self.assertEqual((State.PREPARING, 7), (started.state, started.limit))
        self.assertEqual(
            (record.migration, record.guest, record.peer),
            (
                started.subject.migration,
                started.subject.guest,
                started.subject.peer,
            ),
        )

    def test_a_note_in_the_same_state_is_no_event(self):
        self.enter(State.PREPARING)
        self.enter(State.PREPARING, 'the bases fit')
        self.assertEqual(['Started', 'Progressed'], self.kinds())

    def test_a_new_state_is_told_although_the_figures_know_it(self):
        """The destination may be ready before the source notes that."""
        self.enter(State.COPYING)
        self.monitor.watch(State.READY, DISKS)
        self.enter(State.READY, 'all mirror')
        change = self.seen[3]
        self.assertIsInstance(change, events.PhaseChanged)
        self.assertEqual(
            (State.COPYING, State.READY, 'all mirror'),
            (change.before, change.state, change.note),
        )

    def test_a_phase_has_its_seconds(self):
        for state in (State.PREPARING, State.COPYING, State.UNDOING):
            self.enter(state)
        self.monitor.end(events.Outcome.UNDONE)
        for change in self.seen:
            if isinstance(change, events.PhaseChanged):
                self.assertEqual(
                    self.seen[-1].phases[change.before], change.seconds
                )

    def test_what_is_done_again_and_what_is_silent(self):
        self.monitor.retry(events.Retry.PIECE)
        self.monitor.hear(1.0)
        self.enter(State.SEEDING)
        self.monitor.retry(events.Retry.PIECE)
        self.monitor.hear(95.0)
        self.assertEqual(['Retried', 'Heard'], self.kinds()[2:])
        retried, heard = self.seen[2:]
        self.assertEqual(
            (events.Retry.PIECE, 95.0), (retried.act, heard.silent_s)
        )

    def test_figures_have_the_limit_and_the_forecast(self):
        self.enter(State.SEEDING)
        found = forecast.Forecast(delta_bytes=1, rate=2.0)
        self.monitor.foresee(found)
        self.monitor.limit = 9
        self.monitor.watch(State.SEEDING, DISKS)
        now = self.seen[-1].progress
        self.assertEqual(
            (DISKS, 9, found), (now.disks, now.limit, now.forecast)
        )
        self.assertEqual(now, self.monitor.progress)

    def test_figures_of_disks_that_do_not_move_are_left_out(self):
        self.monitor.sizes = {'vda': 4}
        self.enter(State.SEEDING)
        lies = tuple(
            model.DiskProgress(disk=f'vd{n}', total_bytes=1) for n in range(99)
        )
        self.monitor.watch(State.SEEDING, (*lies, *DISKS))
        self.assertEqual(DISKS, self.monitor.progress.disks)

    def test_the_journal_has_the_disks_after_a_crash(self):
        moves = (samples.move('vda'),)
        self.monitor.enter(samples.record(state=State.COPYING, moves=moves))
        other = model.DiskProgress(disk='vdb', total_bytes=1)
        self.monitor.watch(State.COPYING, (other, *DISKS))
        self.assertEqual(DISKS, self.monitor.progress.disks)

    def test_the_end_has_the_sums(self):
        for state in (State.PREPARING, State.COPYING, State.READY):
            self.enter(state)
        self.monitor.watch(State.READY, DISKS)
        self.monitor.end(events.Outcome.UNDONE, 'no room')
        ended = self.seen[-1]
        self.assertEqual(
            (events.Outcome.UNDONE, 'no room', 3),
            (ended.outcome, ended.reason, ended.copied_bytes),
        )
        self.assertEqual(
            [State.PREPARING, State.COPYING, State.READY], list(ended.phases)
        )
        self.assertEqual(
            ended.phases[State.COPYING] + ended.phases[State.READY],
            ended.remote_window_s,
        )
        self.assertGreaterEqual(ended.duration_s, ended.remote_window_s)

    def test_nothing_follows_the_end(self):
        self.enter(State.UNDOING)
        self.monitor.end(events.Outcome.UNDONE)
        told = len(self.seen)
        self.enter(State.SETTLED)
        self.monitor.watch(State.SETTLED)
        self.monitor.end(events.Outcome.STUCK)
        self.monitor.retry(events.Retry.PIECE)
        self.monitor.hear(95.0)
        self.assertEqual(told, len(self.seen))

    def test_an_observer_that_fails_harms_nobody(self):
        def fail(_event):
            raise RuntimeError('the bus is away')

        told = monitor.Monitor([fail, self.seen.append])
        told.enter(samples.record())
        self.assertEqual(['Started', 'Progressed'], self.kinds())
        self.assertIn('the bus is away', self.log.output)

    def test_without_a_copy_there_is_no_remote_window(self):
        self.enter(State.SEEDING)
        self.monitor.end(events.Outcome.ABORTED)
        self.assertIsNone(self.seen[-1].remote_window_s)

    def test_a_listener_gets_the_figures_only(self):
        found: list[Any] = []
        told = monitor.Monitor([events.on_progress(found.append)])
        told.enter(samples.record(state=State.SEEDING))
        told.watch(State.SEEDING, DISKS)
        told.end(events.Outcome.COMPLETED)
        self.assertEqual([(), DISKS], [progress.disks for progress in found])
