# SPDX-License-Identifier: Apache-2.0
"""All lines of whole migrations, on both hosts and in all threads."""

import threading
from typing import Any

import fixtures
from oslo_context import context

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.migration import progress_log
from nova_blockcopy.migration.source import recovery
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.unit import lines
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.migration import world

REQUEST = 'req-11111111-aaaa-bbbb-cccc-555555555555'
State = states.State


def forget_request():
    if context.get_current() is not None:
        del context._request_store.context


class LoggedTestCase(world.WorldTestCase):
    """Each message is carried out as Nova's RPC has it done."""

    def setUp(self):
        super().setUp()
        self.lines = self.useFixture(lines.Lines())
        self.addCleanup(forget_request)
        context.RequestContext(request_id=REQUEST)

    def _handle(self, message):
        """On a thread that knows the request, and nothing of the caller."""
        answers: list[Any] = []

        def handle():
            context.RequestContext(request_id=REQUEST)
            answers.append(super(LoggedTestCase, self)._handle(message))

        thread = threading.Thread(target=handle, daemon=True)
        thread.start()
        thread.join()
        (answer,) = answers
        return answer

    def assert_named(self):
        """Each line has the guest and the request, and no text twice."""
        self.assertNotEqual([], self.lines.all)
        for each in self.lines.all:
            self.assertEqual(samples.UUID, each.instance, each.whole)
            self.assertIn(REQUEST, each.request)
            # a traceback repeats the error on lines of its own
            first = each.text.splitlines()[0]
            self.assertNotIn(samples.UUID, first)
            for part in first.split(': '):
                if len(part) > 20:
                    self.assertEqual(1, first.count(part), first)

    def assert_quiet(self):
        """Nothing asks for a person."""
        self.assertEqual([], self.lines.complaints())

    def assert_both_hosts(self, *loggers):
        found = {each.logger for each in self.lines.all}
        for name in loggers:
            self.assertIn(f'nova_blockcopy.{name}', found)


class TestDirect(LoggedTestCase):
    def test_a_success(self):
        self.migration().run()
        self.assert_arrived()
        self.assert_named()
        self.assert_quiet()

    def test_an_abort_is_expected(self):
        migration = self.migration()
        self.when(State.COPYING, migration.abort)
        self.refused(exception.MigrationUndone, migration.run)
        self.assert_untouched()
        self.assert_named()
        self.assert_quiet()
        self.assertIn(
            'The migration is being undone: The migration of guest "guest" '
            'was aborted on request.',
            self.lines.of('INFO'),
        )

    def test_a_failure_of_the_destination(self):
        self.when_copying(lambda machine: machine.jobs.pop('vda'))
        self.undone()
        self.assert_named()
        self.assert_both_hosts(
            'migration.source.migration', 'migration.destination.worker'
        )
        (said,) = (
            each
            for each in self.lines.of('WARNING')
            if each.startswith('The migration is being undone')
        )
        self.assertIn('the block job ended before the pivot', said)

    def test_a_crash_of_the_source(self):
        migration = self.migration(held=True)
        migration.run(State.SWITCHING)
        record = self.record('a')
        del self.lines.all[:]
        side = recovery.settle(
            *(record, self.a.hypervisor('host-a')),
            *(self.channel(), self.host_settings('a')),
        )
        self.assertIs(model.Role.SOURCE, side)
        self.assert_named()
        self.assert_quiet()
        self.assertIn(
            'The guest now uses the disks of the source',
            self.lines.of('INFO'),
        )

    def test_a_message_that_is_not_understood(self):
        self.restart_destination()
        self._handle(
            {'operation': 'seed', 'guest': samples.UUID, 'migration': 'm1'}
        )
        self.assert_named()

    def test_a_message_about_no_guest_names_none(self):
        self.restart_destination()
        self._handle(
            {'operation': 'seed', 'guest': '/dev/loop1', 'migration': 'm1'}
        )
        (line,) = self.lines.all
        self.assertIsNone(line.instance)
        self.assertIn(REQUEST, line.request)


class TestSeeded(world.Seeded, LoggedTestCase):
    def test_a_success(self):
        self.migration().run()
        self.assert_arrived()
        self.assert_named()
        self.assert_quiet()

    def test_an_abort_while_seeding_is_expected(self):
        migration = self.migration()

        def abort(_seed, _piece):
            migration.abort()

        self.on_piece = abort
        self.refused(exception.MigrationUndone, migration.run)
        self.assert_untouched()
        self.assert_named()
        self.assert_quiet()

    def test_pieces_that_fail(self):
        failures = [exception.ImageError(path='/x', reason='it broke.')]

        def fail(_seed, _piece):
            raise failures.pop()

        self.on_piece = fail
        self.undone()
        self.assert_named()

    def test_a_worker_that_fails_unexpectedly(self):
        def fail(_seed, _piece):
            raise OSError('it broke')

        self.on_piece = fail
        self.undone()
        self.assert_named()
        self.assert_both_hosts('copies.seeder')

    def test_stuck(self):
        self.machine.lost = {'vdb'}

        def abort(_seed, _piece):
            self.running.abort()

        self.on_piece = abort
        self.stuck()
        self.assert_named()

    def test_no_line_repeats_the_note_of_a_path_as_a_guest(self):
        """An abort in the middle of a comparison."""

        def on_message(message):
            if message['operation'] == 'digest':
                self.running.abort()

        self.options = {'verify': 'full'}
        self.on_message = on_message
        self.undone()
        self.assert_named()
        self.assert_quiet()
        for each in self.lines.all:
            self.assertNotRegex(each.text, 'guest "/')


class TestCourse(world.Seeded, LoggedTestCase):
    """The first and the last line, and the phases, of both hosts."""

    def test_a_success(self):
        self.migration().run()
        said = self.lines.of('INFO')
        self.assertEqual(
            2, sum(' begins: guest "guest", ' in text for text in said)
        )
        # the destination closes its journal first
        there, here = (
            text for text in said if text.startswith('The migration has')
        )
        for end in (there, here):
            self.assertIn('the guest stood still for 77.00 s at most', end)
            self.assertIn('all seeded data compared by checksums', end)
            self.assertIn(' MiB allocated after', end)
        self.assertIn(' MiB allocated before, ', here)
        for state in ('seeding', 'copying', 'pivoting', 'releasing'):
            found = [t for t in said if t.startswith(f'Phase {state}')]
            self.assertEqual(2, len(found), state)

    def test_a_destination_that_does_not_answer(self):
        """The line comes while the source waits for the answer."""
        self.useFixture(
            fixtures.MonkeyPatch(f'{progress_log.__name__}._INTERVAL', 0.02)
        )
        self.useFixture(
            fixtures.MonkeyPatch(f'{progress_log.__name__}._SILENCE', 0.1)
        )
        waited: list[bool] = []

        def on_message(message):
            if message['operation'] == 'seed' and not waited:
                waited.append(waiting.until(self._is_said, timeout=30))

        self.on_message = on_message
        self.migration().run()
        self.assertEqual([True], waited)
        self.assert_named()
        self.assert_quiet()

    def _is_said(self):
        return any(
            text.startswith('The destination has not answered for ')
            for text in self.lines.of('INFO')
        )
