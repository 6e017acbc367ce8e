# SPDX-License-Identifier: Apache-2.0
"""A migration is held at a state, and messages have troubles."""

import signal
import threading

import fixtures

from nova_blockcopy import exception
from nova_blockcopy import states
from nova_blockcopy.records import journal
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.faults import channel
from nova_blockcopy.tests.faults import hook
from nova_blockcopy.tests.faults import trace
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples


class TestHook(base.TestCase):
    def setUp(self):
        super().setUp()
        for name in ('_write', 'close'):
            # is put back after the test
            self.useFixture(
                fixtures.MonkeyPatch(
                    f'nova_blockcopy.records.journal.Journal.{name}',
                    getattr(journal.Journal, name),
                )
            )
        self.trace = trace.Trace(self.directory / 'trace')
        self.hook = hook.Hook(self.trace)
        self.hook.install()
        self.journal = journal.Journal(str(self.directory / 'journal'))
        self.record = self.journal.open(samples.record())

    def test_all_is_traced(self):
        self.journal.close(self.record.guest)
        self.assertEqual(
            [
                {
                    'wrote': self.record.state,
                    'role': 'source',
                    'authority': 'source',
                    'note': '',
                },
                {'closed': self.record.guest},
            ],
            self.trace.events(),
        )

    def test_it_is_held_behind_the_write_until_its_release(self):
        state = states.State.UNDOING
        self.hook.arm([state])
        writing = threading.Thread(
            target=self.journal.write, args=(self.record, state)
        )
        writing.start()
        self.assertTrue(
            waiting.until(lambda: bool(self.trace.events('held')), timeout=10)
        )
        found = self.journal.find(self.record.guest)
        assert found is not None
        self.assertEqual(state, found.state)
        self.assertTrue(writing.is_alive())
        self.hook.release(state)
        writing.join(10)
        self.assertFalse(writing.is_alive())
        # once
        self.journal.write(found, state)

    def test_a_process_dies_before_a_write(self):
        kills = []
        self.useFixture(
            fixtures.MonkeyPatch(
                'os.kill', lambda _pid, number: kills.append(number)
            )
        )
        self.hook.die_at(2)
        self.journal.write(self.record, self.record.state)
        self.assertEqual([], kills)
        self.journal.write(self.record, self.record.state)
        self.assertEqual([signal.SIGKILL], kills)


class TestChannel(base.TestCase):
    def test_a_trouble_ends(self):
        trouble = channel.Trouble()
        trouble.begin('late', 2)
        self.assertEqual(
            ['late', 'late', ''], [trouble.take() for _message in range(3)]
        )

    def test_without_a_service_there_is_no_answer(self):
        there = channel.Channel(
            self.directory / 'service', channel.Trouble(), questions=1
        )
        for operation in ('status', 'pivot'):
            self.assertRaises(
                exception.PeerError, there.call, {'operation': operation}
            )
