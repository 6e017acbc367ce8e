#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""What a crash of nova-compute left, and who in Nova goes on from there."""

import pathlib
from typing import Any
from unittest import mock

import fixtures
import nova.exception
import oslo_messaging
from nova import objects
from nova.compute import manager

from nova_blockcopy import journal
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.migration import destination
from nova_blockcopy.migration import steps
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import reconcile
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

OTHER = '99999999-2222-3333-4444-555555555555'
State = states.State


class ReconcileTestCase(base.TestCase):
    """The engine is real on both hosts; libvirt and Nova's RPC are not.

    ``host-b`` is the destination; ``host-c`` does not answer.
    """

    def setUp(self):
        super().setUp()
        self.connection = fakes.Connection(
            fakes.Machine(samples.domain(samples.disk_xml())),
            fakes.Machine(samples.domain(samples.disk_xml(), uuid=OTHER)),
        )
        self.engine = self.service(self.connection)
        there = fakes.Connection()
        self.there = destination.Destination(
            there.hypervisor(base.THERE),
            lambda: there,
            self.settings(journal_dir=str(self.directory / 'there')),
        )
        self.manager = mock.create_autospec(
            manager.ComputeManager, instance=True
        )
        self.manager._rollback_live_migration.side_effect = self.rolled_back
        self.manager._post_live_migration.side_effect = self.went_on
        self.ended: list[Any] = []
        self.asked: list[Any] = []
        self.fake(compat, 'ComputeAPI')
        api = compat.ComputeAPI.return_value
        api.check_instance_shared_storage.side_effect = self.answer
        self.fake(
            objects.Migration,
            'get_by_instance_and_status',
            side_effect=lambda context, uuid, status: objects.Migration(
                id=1, instance_uuid=uuid, status=status
            ),
        )
        self.fake(
            objects.Instance,
            'get_by_uuid',
            side_effect=lambda context, uuid, **_more: base.instance(
                uuid=uuid
            ),
        )
        self.fake(
            objects.BlockDeviceMappingList,
            'get_by_instance_uuid',
            side_effect=lambda context, uuid, **_more: uuid,
        )
        for patient in (channel, steps):
            self.useFixture(
                fixtures.MonkeyPatch(f'{patient.__name__}._PAUSE', 0)
            )

    def answer(self, context, data, instance=None, host=None):
        message = data[channel.KEY]
        self.asked.append((host, message['operation'], message['guest']))
        if host != base.THERE:
            raise oslo_messaging.MessagingTimeout('no answer')
        return self.there.handle(message)

    def rolled_back(self, context, instance, dest, **more):
        self.note('back', instance, dest, **more)

    def went_on(self, context, instance, dest, **more):
        self.note('there', instance, dest, **more)

    def note(self, where, instance, dest, migrate_data, source_bdms):
        self.assertEqual(instance.uuid, source_bdms)
        self.assertEqual(instance.uuid, migrate_data.migration.instance_uuid)
        self.assertEqual(instance.uuid, migrate_data.instance_relative_path)
        # Nova may clean up now, and only now
        self.assertIsNone(self.engine.guarding_record(instance.uuid))
        self.assertIsNotNone(self.engine.journal.find(instance.uuid))
        self.ended.append((where, instance.uuid, dest))

    def crashed(self, **values):
        """What is in the journal when nova-compute starts again."""
        values = {'role': model.Role.SOURCE, **values}
        return self.engine.journal.open(base.record(**values))

    def gone_over(self, **values):
        """A crash when all disks were proven to be over there."""
        return self.crashed(
            state=State.RELEASING,
            authority=model.Role.DESTINATION,
            **values,
        )

    def run_it(self):
        reconcile.Reconciler(self.engine, self.manager).run()

    def found(self, guest: str = samples.UUID) -> journal.Record:
        record = self.engine.journal.find(guest)
        assert record is not None
        return record

    def left(self):
        return self.engine.journal.guests()


class TestReconcile(ReconcileTestCase):
    def test_nothing_was_left(self):
        self.run_it()
        self.assertEqual([], self.ended)

    def test_back_to_the_source(self):
        self.crashed()
        self.run_it()
        self.assertEqual([('back', samples.UUID, base.THERE)], self.ended)
        self.assertEqual([], self.left())

    def test_on_to_the_destination(self):
        self.gone_over()
        self.run_it()
        self.assertEqual([('there', samples.UUID, base.THERE)], self.ended)
        self.assertEqual([], self.left())
        self.assertIn((base.THERE, 'finish', samples.UUID), self.asked)

    def test_a_failure_leaves_the_journal_and_the_next_one_is_settled(self):
        for first, second in ((samples.UUID, OTHER), (OTHER, samples.UUID)):
            kept = self.gone_over(guest=first, peer='host-c')
            self.crashed(guest=second)
            self.run_it()
            self.assertEqual([('back', second, base.THERE)], self.ended)
            self.assertEqual([first], self.left())
            found = self.found(first)
            self.assertEqual(model.Role.DESTINATION, found.authority)
            self.assertEqual(kept.migration, found.migration)
            self.assertIn(first, self.log.output)
            self.engine.journal.close(first)
            del self.ended[:]

    def test_it_is_settled_at_the_next_start(self):
        self.gone_over(peer='host-c')
        self.run_it()
        self.assertEqual([samples.UUID], self.left())
        kept = self.found()
        self.engine.journal.close(samples.UUID)
        # host-c is back
        self.gone_over(peer=base.THERE, migration=kept.migration)
        self.run_it()
        self.assertEqual([], self.left())
        self.assertEqual([('there', samples.UUID, base.THERE)], self.ended)

    def test_the_destination_leaves_it_to_the_source(self):
        self.crashed(role=model.Role.DESTINATION)
        self.run_it()
        self.assertEqual([], self.asked)
        self.assertEqual([], self.ended)
        self.assertEqual([samples.UUID], self.left())

    def test_a_failure_of_novas_part_does_not_stop_the_next_one(self):
        self.manager._rollback_live_migration.side_effect = KeyError('broke')
        self.crashed()
        self.gone_over(guest=OTHER)
        self.run_it()
        self.assertEqual([('there', OTHER, base.THERE)], self.ended)
        self.assertIn('broke', self.log.output)
        # and what it left half done stays guarded
        self.assertEqual([samples.UUID], self.left())
        self.assertIsNotNone(self.engine.guarding_record(samples.UUID))

    def test_a_journal_that_cannot_be_read_does_not_stop_the_next_one(self):
        self.crashed()
        broken = pathlib.Path(self.engine.journal.path(OTHER))
        broken.write_text('{')
        self.run_it()
        self.assertEqual([('back', samples.UUID, base.THERE)], self.ended)
        self.assertEqual([OTHER], self.left())

    def test_nova_has_the_instance_where_its_guest_is_not(self):
        """The guards must stay, or it would be started here again."""
        objects.Migration.get_by_instance_and_status.side_effect = (
            nova.exception.MigrationNotFoundByStatus(
                instance_id=samples.UUID, status='running'
            )
        )
        self.gone_over()
        self.run_it()
        self.assertEqual([samples.UUID], self.left())
        self.assertIsNotNone(self.engine.guarding_record(samples.UUID))

    def test_nova_knows_of_no_migration_any_more(self):
        """It is settled all the same, and Nova is left alone."""
        objects.Migration.get_by_instance_and_status.side_effect = (
            nova.exception.MigrationNotFoundByStatus(
                instance_id=samples.UUID, status='running'
            )
        )
        self.crashed()
        self.run_it()
        self.assertEqual([], self.ended)
        self.assertEqual([], self.left())
        self.assertIn('source', self.log.output)
