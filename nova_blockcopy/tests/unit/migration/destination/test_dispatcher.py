# SPDX-License-Identifier: Apache-2.0
"""The destination's entry point: what it understands, and what it forgets."""

import time
import types

import ddt
import fixtures

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.migration import world

COPY = {
    'persistent_xml': '',
    'bandwidth': 0,
    'synchronous_writes': False,
    'guest_bandwidth': 0,
}
STATUS = {'operation': 'status', 'guest': samples.UUID, 'migration': 'm1'}


@ddt.ddt
class TestHandle(world.WorldTestCase):
    disks = ('vda',)

    def ask(self, operation, **values):
        return peer.ask(
            self.channel(),
            operation,
            samples.UUID,
            **{'migration': 'm1', **values},
        )

    def failed(self, kind, operation, **values):
        error = self.refused(kind, lambda: self.ask(operation, **values))
        return str(error)

    @ddt.data('', 'explode', '_record', '__init__', 'None', 'flatten')
    def test_an_operation_that_is_not_known(self, operation):
        said = self.failed(exception.PeerError, operation)
        self.assertIn('the destination does not know this operation', said)

    def test_a_message_without_an_operation(self):
        answer = self.destination.handle({'guest': 'x', 'migration': 'm1'})
        self.assertEqual('PeerError', answer['error']['class'])

    @ddt.data(
        ('status', {'colour': 'red'}),
        ('copy', {'persistent_xml': ''}),
        ('copy', {**COPY, 'buffers': 7}),
        # as another version sends it
        ('copy', {k: v for k, v in COPY.items() if k != 'guest_bandwidth'}),
        ('digest', {'image': {}, 'wanted': [], 'by_content': False}),
    )
    @ddt.unpack
    def test_a_message_of_another_version(self, operation, values):
        said = self.failed(exception.PeerError, operation, **values)
        self.assertIn('same version', said)

    def test_a_value_of_another_version(self):
        self.prepare(self.remote())
        said = self.failed(
            exception.PeerError,
            'give_back',
            boot='',
            endpoint={'uri': 'x', 'colour': 'red'},
            live_xml='',
            persistent_xml='',
        )
        self.assertIn('same version', said)

    @ddt.data(None, 7, 'status', [STATUS], {'operation': ['status']})
    def test_a_message_of_another_shape(self, message):
        answer = self.destination.handle(message)
        self.assertEqual('PeerError', answer['error']['class'])

    @ddt.data(
        ('set_bandwidth', 'bandwidth', '7'),
        ('set_bandwidth', 'bandwidth', True),
        ('set_bandwidth', 'bandwidth', -1),
        ('set_bandwidth', 'bandwidth', 1.5),
        ('set_bandwidth', 'bandwidth', 2**64),
        ('discard', 'keep', 'no'),
        ('copy', 'persistent_xml', 'a\0b'),
        ('copy', 'persistent_xml', '\ud800'),
        ('copy', 'synchronous_writes', 1),
    )
    @ddt.unpack
    def test_a_value_of_another_type(self, operation, name, value):
        values = COPY if operation == 'copy' else {}
        values = {**STATUS, **values, 'operation': operation, name: value}
        said = self.not_understood(values)
        self.assertIn(f'$.{name}', said)

    def test_arrivals_that_never_came_are_forgotten(self):
        started = self.now()
        for number in range(2000):
            self.ask('status', migration=f'never{number}')
        self.assertLess(len(self.destination._arrivals), 300)
        self.prepare(self.remote())
        self.assertIn((samples.UUID, 'm1'), self.destination._arrivals)
        started.value = time.monotonic() + 700
        self.ask('status', migration='m2')
        self.assertEqual(
            {(samples.UUID, 'm1'), (samples.UUID, 'm2')},
            set(self.destination._arrivals),
        )

    def now(self):
        """A clock of the dispatcher that a test can move."""
        clock = types.SimpleNamespace(value=time.monotonic())
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{dispatcher.__name__}.time',
                types.SimpleNamespace(monotonic=lambda: clock.value),
            )
        )
        return clock

    def test_more_guests_than_a_host_has(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{dispatcher.__name__}._MOST', 1)
        )
        self.prepare(self.remote())
        said = self.failed(exception.PeerError, 'status', migration='m2')
        self.assertIn('1 other guests', said)
        self.assertEqual('preparing', self.ask('status')['state'])

    def test_one_guest_is_not_taken_for_another(self):
        self.prepare(self.remote())
        other = '99999999-2222-3333-4444-555555555555'
        answer = self.destination.handle({**STATUS, 'guest': other})
        self.assertIsNone(answer['state'])

    def test_bases_of_other_disks(self):
        request = self.request(bases={})
        self.useFixture(
            fixtures.MockPatchObject(self, 'request', lambda: request)
        )
        error = self.refused(exception.PeerError, self.prepare, self.remote())
        self.assertIn('other disks', str(error))

    @ddt.data('guest', 'migration')
    def test_a_message_that_does_not_say_of_whom(self, missing):
        message = dict(STATUS)
        del message[missing]
        self.assertIn(missing, self.not_understood(message))

    def not_understood(self, message):
        answer = self.destination.handle(message)
        error = self.refused(
            exception.PeerError, peer.raise_failure, answer['error']
        )
        return str(error)

    @ddt.data(
        ('guest', '../../etc/passwd'),
        ('guest', 'AAAAAAAA-1111-2222-3333-444444444444'),
        ('guest', f'{samples.UUID}/..'),
        ('guest', 7),
        ('guest', None),
        ('migration', '../m1'),
        ('migration', ''),
        ('migration', 'm' * 65),
        ('migration', ['m1']),
    )
    @ddt.unpack
    def test_names_that_lead_elsewhere(self, field, value):
        """The names become parts of paths."""
        said = self.not_understood({**STATUS, field: value})
        self.assertIn('not understood', said)

    @ddt.data(
        ('copy', COPY),
        ('pivot', {'without_source': False, 'again': False}),
        (
            'give_back',
            {
                'boot': '',
                'endpoint': {'uri': 'x', 'migrate_uri': ''},
                'live_xml': '',
                'persistent_xml': '',
            },
        ),
    )
    @ddt.unpack
    def test_errors_keep_their_class(self, operation, values):
        said = self.failed(exception.JournalError, operation, **values)
        self.assertIn('m1', said)

    def test_a_guest_that_nobody_knows(self):
        status = self.ask('status')
        self.assertEqual('off', status['power'])
        self.assertTrue(status['task']['done'])
        self.assertIsNone(status['task']['name'])
        self.assertEqual(
            (None, [], []),
            tuple(status[key] for key in ('state', 'pivoted', 'disks')),
        )
        for operation in ('discard', 'finish', 'discard'):
            self.assertEqual({}, self.ask(operation))

    def test_another_migration_gets_no_answer_of_this_one(self):
        self.prepare(self.remote())
        self.assertEqual('preparing', self.ask('status')['state'])
        self.assertIsNone(self.ask('status', migration='m2')['state'])
        for operation in ('discard', 'finish'):
            self.ask(operation, migration='m2')
            self.assertIsNotNone(self.record('b'))
        said = self.failed(
            exception.JournalError,
            'pivot',
            migration='m2',
            without_source=False,
            again=False,
        )
        self.assertIn('m2', said)

    def test_a_journal_that_is_kept_until_the_caller_is_done(self):
        self.prepare(self.remote())
        for _twice in range(2):
            self.ask('discard', keep=True)
            record = self.record('b')
            self.assertEqual('settled', record.state)
            self.assertEqual(model.Role.SOURCE, record.authority)
        self.ask('discard')
        self.assertIsNone(self.record('b'))

    def test_what_is_not_at_home_is_not_finished(self):
        far = self.remote()
        self.prepare(far)
        self.assertRaises(exception.InvalidTransition, far.finish)
        self.assertIsNotNone(self.record('b'))

    def test_a_restart_forgets_nothing_that_is_in_the_journal(self):
        self.prepare(self.remote())
        self.restart_destination()
        status = self.ask('status')
        self.assertEqual('preparing', status['state'])
        self.assertIsNone(status['task']['name'])
        self.ask('discard')
        self.assertIsNone(self.record('b'))

    def test_a_bandwidth_before_the_copies(self):
        self.assertEqual({}, self.ask('set_bandwidth', bandwidth=5))
