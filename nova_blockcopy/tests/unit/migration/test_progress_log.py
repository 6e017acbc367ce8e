# SPDX-License-Identifier: Apache-2.0
"""The lines of a migration while it runs."""

import threading

import fixtures

from nova_blockcopy import events
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.migration import monitor
from nova_blockcopy.migration import progress_log
from nova_blockcopy.runtime import log
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import lines
from nova_blockcopy.tests.unit import samples

State = states.State
DISKS = (
    model.DiskProgress(
        disk='vda', processed_bytes=3 * 2**20, total_bytes=4 * 2**20
    ),
)


class TestProgressLog(base.TestCase):
    def setUp(self):
        super().setUp()
        self.lines = self.useFixture(lines.Lines())
        self.monitor = monitor.Monitor(
            [progress_log.ProgressLog(self.settings())]
        )

    def test_the_begin_each_phase_and_the_end(self):
        for state in (State.PREPARING, State.PREPARING, State.UNDOING):
            self.monitor.enter(samples.record(state=state))
        self.monitor.watch(State.UNDOING, DISKS)
        self.monitor.end(events.Outcome.ABORTED)
        start, phase, end = self.lines.of('INFO')
        self.assertIn(' begins: guest "', start)
        self.assertEqual('Phase undoing', phase)
        self.assertTrue(end.startswith('The migration was aborted: '), end)


class TestBeating(base.TestCase):
    def setUp(self):
        super().setUp()
        self.lines = self.useFixture(lines.Lines())
        self.useFixture(
            fixtures.MonkeyPatch(f'{progress_log.__name__}._INTERVAL', 0.01)
        )
        self.told: list[events.Event] = []
        self.monitor = monitor.Monitor([self.told.append])
        self.monitor.enter(samples.record(state=State.SEEDING))
        self.monitor.watch(State.SEEDING, DISKS)

    def first(self, silent_s):
        """The first line that is logged while the code waits."""
        with (
            log.about(samples.UUID),
            progress_log.beating(self.monitor, lambda: silent_s),
        ):
            self.assertTrue(
                waiting.until(lambda: bool(self.lines.all), timeout=30)
            )
        return self.lines.all[0]

    def test_figures_come_by_the_clock(self):
        """No event is needed for them."""
        line = self.first(0.0)
        self.assertTrue(
            line.text.startswith('Phase seeding: 75 %, 3 of 4 MiB, '), line
        )
        self.assertEqual(('INFO', samples.UUID), (line.level, line.instance))

    def test_a_destination_that_does_not_answer(self):
        line = self.first(95.0)
        self.assertTrue(
            line.text.startswith(
                'The destination has not answered for 95 s. Before that: '
                'Phase seeding: 75 %'
            ),
            line,
        )
        (heard, *_more) = (
            each for each in self.told if isinstance(each, events.Heard)
        )
        self.assertEqual(95.0, heard.silent_s)

    def test_the_end_of_the_code_is_the_end_of_the_lines(self):
        self.first(0.0)
        names = [thread.name for thread in threading.enumerate()]
        self.assertNotIn('blockcopy-heartbeat', names)
