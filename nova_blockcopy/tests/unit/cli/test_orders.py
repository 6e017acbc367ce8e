# SPDX-License-Identifier: Apache-2.0
"""``limit``, ``abort`` and ``settle`` reach the engine, or say why not."""

import contextlib
import sys

import ddt
import fixtures

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.migration import control
from nova_blockcopy.migration import peer
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.cli import base

State = base.State
GUEST = samples.UUID


@ddt.ddt
class TestOrders(base.CliTestCase):
    def setUp(self):
        super().setUp()
        self.orders = []

    @contextlib.contextmanager
    def engine(self, answer, name=GUEST):
        def handle(message):
            self.orders.append(message)
            return answer() if callable(answer) else answer

        with control.listening(self.site.journal.directory, name, handle):
            yield

    def test_a_limit(self):
        self.begun()
        with self.engine({}):
            said = self.said('limit', GUEST, '50')
        self.assertIn('50.0 MiB/s', said)
        self.assertEqual(
            [{'operation': 'limit', 'guest': GUEST, 'mib_per_s': 50}],
            self.orders,
        )

    def test_no_limit(self):
        self.begun()
        with self.engine({}):
            self.assertIn('none', self.said('limit', GUEST, '0'))

    def test_a_limit_that_the_engine_refuses(self):
        self.begun()
        error = exception.InvalidOption(option='x', reason='too large')
        with self.engine({'error': peer.failure(error)}):
            self.assertEqual(1, self.run_it('limit', GUEST, '99'))
        self.assertIn('too large', self.err.getvalue())

    @ddt.data(('limit', '5'), ('abort',))
    def test_no_nova_compute(self, command):
        self.begun()
        name, *more = command
        self.assertEqual(4, self.run_it(name, GUEST, *more))
        self.assertIn('nova-compute does not run', self.err.getvalue())

    @ddt.data(('limit', '5'), ('abort',))
    def test_no_migration_that_runs(self, command):
        self.begun()
        name, *more = command
        with self.engine({}, control.SERVICE):
            self.assertEqual(4, self.run_it(name, GUEST, *more))
        self.assertIn('nova-blockcopy settle', self.err.getvalue())

    @ddt.data(('limit', '5'), ('abort',), ('settle',))
    def test_the_wrong_host(self, command):
        self.begun(role=model.Role.DESTINATION)
        name, *more = command
        self.assertEqual(1, self.run_it(name, GUEST, *more))
        self.assertIn('Run this command on host-b', self.err.getvalue())

    def test_an_abort(self):
        record = self.begun()

        def undo():
            self.site.journal.close(record.guest)
            return {'accepted': True}

        with self.engine(undo):
            said = self.said('abort', GUEST)
        self.assertIn('The migration was undone', said)

    def test_an_abort_that_comes_too_late(self):
        self.begun()
        with self.engine({'accepted': False}):
            self.assertEqual(1, self.run_it('abort', GUEST))
        self.assertIn('too late', self.err.getvalue())

    def test_an_abort_that_gets_stuck(self):
        record = self.begun()

        def stick():
            self.site.journal.write(record, State.STUCK, 'no answer')
            return {'accepted': True}

        with self.engine(stick):
            self.assertEqual(1, self.run_it('abort', GUEST))
        self.assertIn('no answer', self.err.getvalue())

    def test_an_abort_that_takes_too_long(self):
        self.begun()
        with self.engine({'accepted': True}):
            self.assertEqual(
                1, self.run_it('abort', GUEST, '--deadline', '0.1')
            )
        self.assertIn('not undone after 0.1 s', self.err.getvalue())

    def test_a_settlement(self):
        self.begun()
        with self.engine({'settled': True}, control.SERVICE):
            self.assertIn('is settled', self.said('settle', GUEST))
        self.assertEqual(
            [{'operation': 'settle', 'guest': GUEST}], self.orders
        )

    def test_a_settlement_that_lacks_something(self):
        record = self.begun()
        self.site.reports.fail(record.guest, record.migration, 'no answer')
        with self.engine({'settled': False}, control.SERVICE):
            self.assertEqual(1, self.run_it('settle', GUEST))
        self.assertIn('Missing: no answer', self.err.getvalue())
        self.assertIn('Source (this host): complete', self.out.getvalue())

    def deputy(self, *script):
        """Have another program than Nova's do it."""
        program = self.directory / 'deputy'
        program.write_text('\n'.join(['#!/bin/sh', *script]))
        program.chmod(0o755)
        self.useFixture(
            fixtures.MockPatchObject(sys, 'executable', str(program))
        )

    def test_a_settlement_without_nova_compute(self):
        self.begun()
        self.site.files = ['--config-file=/etc/nova/other.conf']
        asked = self.directory / 'asked'
        self.deputy(
            f'echo "$@" > {asked}',
            'echo a warning of Nova',
            'echo \'{"authority": "source"}\'',
        )
        said = self.said('settle', GUEST)
        self.assertIn('nova-compute does not run on this host', said)
        self.assertIn('The guest uses the disks of the source', said)
        self.assertIn('Start it', said)
        self.assertEqual(
            '-W ignore -m nova_blockcopy.nova.deputy '
            f'{GUEST} --config-file=/etc/nova/other.conf\n',
            asked.read_text(),
        )

    @ddt.data(
        ('echo \'{"reason": "no answer from host-b"}\'', 'no answer from'),
        ('echo no module named nova >&2; exit 1', 'no module named nova'),
        ('exec sleep 60', 'not over after 0.5 s'),
        ('echo', 'gave no answer'),
    )
    @ddt.unpack
    def test_a_settlement_that_fails_without_nova_compute(self, does, said):
        self.begun()
        self.deputy(does)
        self.assertEqual(1, self.run_it('settle', GUEST, '--deadline', '0.5'))
        self.assertIn(said, self.err.getvalue())
        self.assertIn('Source (this host): complete', self.out.getvalue())

    def test_what_runs_is_not_settled(self):
        self.begun()
        with self.engine({}):
            self.assertEqual(1, self.run_it('settle', GUEST))
        self.assertIn('its migration runs', self.err.getvalue())
