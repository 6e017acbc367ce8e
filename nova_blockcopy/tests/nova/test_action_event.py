# SPDX-License-Identifier: Apache-2.0
"""Nova's API shows how a live migration has ended, from Nova's database."""

import ddt
import oslo_messaging
from nova import objects
from nova.objects import instance_action

from nova_blockcopy import exception
from nova_blockcopy.nova import action_event
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import migrations
from nova_blockcopy.tests.nova import sqlite
from nova_blockcopy.tests.unit import samples

_LATER = 'req-22222222-2222-3333-4444-555555555555'
_LONG = exception.SeedFailed(
    disk='vda',
    reason=f'qemu-img said "{"no " * 200}". Check the storage of the source.',
)


class DatabaseTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.nova = self.useFixture(sqlite.NovasDatabase(self.directory))

    def the_event(self, request=sqlite.REQUEST):
        (found,) = self.nova.events(request)
        self.assertEqual(action_event.NAME, found.event)
        return found


@ddt.ddt
class TestActionEvent(DatabaseTestCase):
    def setUp(self):
        super().setUp()
        self.event = action_event.ActionEvent(self.nova.context, samples.UUID)

    def test_while_the_engine_is_at_work(self):
        self.event.begin()
        found = self.the_event()
        self.assertEqual((base.HERE, None), (found.host, found.result))
        self.assertIsNotNone(found.start_time)
        self.assertIsNone(found.finish_time)

    def test_a_success(self):
        self.event.begin()
        self.event.end(None)
        found = self.the_event()
        self.assertEqual(('Success', None), (found.result, found.details))
        self.assertIsNotNone(found.finish_time)
        self.assertIsNone(self.nova.action().message)

    @ddt.data(
        (migrations.FAILED, 'Rolled back: The copy of disk vda failed: so'),
        (
            migrations.ABORTED,
            'Rolled back: The migration of guest "guest" was '
            'aborted on request.',
        ),
        (migrations.STUCK, str(migrations.STUCK)),
        (migrations.REFUSED, str(migrations.REFUSED)),
        (KeyError('what'), "'what'"),
        (MemoryError(), 'MemoryError'),
    )
    @ddt.unpack
    def test_how_it_has_ended(self, error, said):
        self.event.begin()
        self.event.end(error)
        found = self.the_event()
        self.assertEqual(('Error', said), (found.result, found.details))
        self.assertEqual('Error', self.nova.action().message)

    def test_a_long_reason_is_whole_for_administrators(self):
        """Nova shows the traceback to nobody else."""
        self.event.begin()
        self.event.end(migrations.undone(_LONG))
        found = self.the_event()
        self.assertLessEqual(len(found.details), 255)
        self.assertTrue(
            found.details.startswith(
                'Rolled back: Seeding the base of disk vda failed: qemu-img'
            )
        )
        self.assertTrue(
            found.details.endswith(' Check the storage of the source.')
        )
        self.assertIn(str(_LONG), found.traceback)

    def test_it_may_end_again(self):
        """A stuck migration is settled later."""
        self.event.begin()
        self.event.end(migrations.STUCK)
        self.event.end(migrations.FAILED)
        self.assertIn('Rolled back', self.the_event().details)

    def test_without_a_conductor_nothing_is_shown_and_nothing_fails(self):
        kind = instance_action.InstanceActionEvent
        silence = oslo_messaging.MessagingTimeout
        self.fake(kind, 'event_start', side_effect=silence)
        self.fake(kind, 'event_finish_with_failure', side_effect=silence)
        self.event.begin()
        self.event.end(migrations.FAILED)
        self.assertEqual([], self.nova.events())
        self.assertIn('Nova cannot show', self.log.output)


class TestAfterRestart(DatabaseTestCase):
    def setUp(self):
        super().setUp()
        begun = action_event.ActionEvent(self.nova.context, samples.UUID)
        begun.begin()
        self.nova.act('live_migration_cancel', _LATER)

    def test_it_is_that_of_the_request(self):
        """The latest action of the server is another one."""
        action_event.after_restart(samples.UUID, sqlite.REQUEST).end(
            migrations.FAILED
        )
        self.assertEqual('Error', self.the_event().result)
        self.assertEqual([], self.nova.events(_LATER))

    def test_without_a_request_it_is_the_latest_action(self):
        late = action_event.after_restart(samples.UUID)
        late.begin()
        late.end(migrations.FAILED)
        self.assertIsNone(self.the_event().result)
        self.assertEqual('Error', self.the_event(_LATER).result)


class TestFault(DatabaseTestCase):
    def test_the_fault_has_the_begin_and_the_details_all(self):
        instance = objects.Instance(uuid=samples.UUID)
        action_event.record_fault(self.nova.context, instance, _LONG)
        fault = self.nova.fault()
        self.assertEqual(base.HERE, fault.host)
        self.assertTrue(fault.message.startswith('Seeding the base'))
        self.assertIn(' Check the storage of the source.', fault.message)
        self.assertIn(str(_LONG), fault.details)

    def test_without_a_conductor_there_is_none(self):
        self.fake(
            objects.InstanceFault,
            'create',
            side_effect=oslo_messaging.MessagingTimeout,
        )
        instance = objects.Instance(uuid=samples.UUID)
        action_event.record_fault(self.nova.context, instance, _LONG)
        self.assertIsNone(self.nova.fault())
