# SPDX-License-Identifier: Apache-2.0
"""What a crash of nova-compute left, and who in Nova goes on from there."""

import contextlib
import datetime
import pathlib
from typing import Any
from unittest import mock

import ddt
import fixtures
import oslo_messaging
from nova import objects
from nova.compute import manager

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.migration.source import steps
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import reconcile
from nova_blockcopy.records import journal
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

LONG_AGO = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
IN_FUTURE = datetime.datetime(9999, 1, 1, tzinfo=datetime.UTC)
OTHER = '99999999-2222-3333-4444-555555555555'
State = states.State


def migration(**values: Any) -> Any:
    """One of Nova's to host-b, which was killed."""
    known = {
        'id': 1,
        'status': 'running',
        'dest_compute': base.THERE,
        'created_at': LONG_AGO,
    }
    return objects.Migration(**{**known, **values})


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
        with self.conf_of_there():
            self.there = self.service(there)
        self.manager = mock.create_autospec(
            manager.ComputeManager, instance=True
        )
        self.manager._rollback_live_migration.side_effect = self.rolled_back
        self.manager._post_live_migration.side_effect = self.went_on
        #: Whether there is a journal here of what ends.
        self.begun = True
        self.ended: list[Any] = []
        self.asked: list[Any] = []
        #: How many questions are not answered.
        self.silences = 0
        self.fake(compat, 'ComputeAPI')
        api = compat.ComputeAPI.return_value
        api.check_instance_shared_storage.side_effect = self.answer
        #: Nova's records of live migrations, for each instance.
        self.migrations = [migration()]
        self.fake(
            objects.MigrationList,
            'get_by_filters',
            side_effect=self.found_migrations,
        )
        self.saved: list[Any] = []
        for kind in (objects.Migration, objects.Instance):
            self.fake(kind, 'save', side_effect=self.saved.append)
        #: What Nova has of each instance, besides its UUID.
        self.facts: dict[str, Any] = {}
        self.deleted = False
        self.fake(
            objects.Instance,
            'get_by_uuid',
            side_effect=self.found_instance,
        )
        self.fake(
            objects.BlockDeviceMappingList,
            'get_by_instance_uuid',
            side_effect=lambda context, uuid, **_more: uuid,
        )
        for patient in (channel, steps, reconcile):
            self.useFixture(
                fixtures.MonkeyPatch(f'{patient.__name__}._PAUSE', 0)
            )

    @contextlib.contextmanager
    def conf_of_there(self):
        directory = str(self.directory / 'there')
        self.conf.config(group='blockcopy', journal_dir=directory)
        yield
        compat.CONF.clear_override('journal_dir', group='blockcopy')

    def answer(self, context, data, instance=None, host=None):
        message = data[channel.KEY]
        self.asked.append((host, message['operation'], message['guest']))
        if host != base.THERE or len(self.asked) <= self.silences:
            raise oslo_messaging.MessagingTimeout('no answer')
        return self.there.answer(message)

    def found_migrations(self, context, filters, **_more):
        """As Nova's database would; without a UUID it is any instance's."""
        self.assertEqual('live-migration', filters['migration_type'])
        wanted = filters.get('status')
        found = []
        for each in self.migrations:
            if wanted is None or each.status in wanted:
                each.instance_uuid = filters.get('instance_uuid', samples.UUID)
                found.append(each)
        return found

    def found_instance(self, context, uuid, **_more):
        if self.deleted and context.read_deleted == 'no':
            raise compat.InstanceNotFound(instance_id=uuid)
        return base.instance(uuid=uuid, deleted=self.deleted, **self.facts)

    def rolled_back(self, context, instance, dest, **more):
        self.note('back', instance, dest, **more)

    def went_on(self, context, instance, dest, **more):
        self.note('there', instance, dest, **more)

    def note(self, where, instance, dest, migrate_data, source_bdms):
        self.assertEqual(instance.uuid, source_bdms)
        self.assertEqual(instance.uuid, migrate_data.migration.instance_uuid)
        self.assertEqual(instance.uuid, migrate_data.instance_relative_path)
        self.assertTrue(handshake.agreed(migrate_data))
        # Nova insists on these
        self.assertEqual('running', migrate_data.migration.status)
        self.assertEqual(
            ('active', 'migrating'), (instance.vm_state, instance.task_state)
        )
        # Nova may clean up now, and only now
        self.assertIsNone(self.engine.guard.record(instance.uuid))
        self.assertEqual(self.begun, instance.uuid in self.left())
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
        return reconcile.Reconciler(self.engine, self.manager).run()

    def found(self, guest: str = samples.UUID) -> journal.Record:
        record = self.engine.journal.find(guest)
        assert record is not None
        return record

    def left(self):
        return self.engine.journal.guests()


class TestReconcile(ReconcileTestCase):
    def test_nothing_was_left(self):
        home = pathlib.Path(self.engine.journal.path(OTHER)).parent
        home.mkdir(parents=True)
        (home / '.unfinished').touch()
        self.run_it()
        self.assertEqual([], self.ended)
        self.assertEqual([], list(home.iterdir()))

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
            self.assertEqual([first], self.run_it())
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
        self.assertEqual([], self.run_it())
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
        self.assertIsNotNone(self.engine.guard.record(samples.UUID))

    def test_a_journal_that_cannot_be_read_does_not_stop_the_next_one(self):
        self.crashed()
        broken = pathlib.Path(self.engine.journal.path(OTHER))
        broken.write_text('{')
        # no time will heal it
        self.assertEqual([], self.run_it())
        self.assertEqual([('back', samples.UUID, base.THERE)], self.ended)
        self.assertEqual([OTHER], self.left())

    def test_nova_has_the_instance_where_its_guest_is_not(self):
        """The guards must stay, or it would be started here again."""
        self.migrations = [migration(status='completed')]
        self.gone_over()
        self.run_it()
        self.assertEqual([samples.UUID], self.left())
        self.assertIsNotNone(self.engine.guard.record(samples.UUID))

    def test_nova_knows_of_no_migration_any_more(self):
        """It is settled all the same, and Nova is left alone."""
        self.migrations = [migration(status='completed')]
        self.crashed()
        self.run_it()
        self.assertEqual([], self.ended)
        self.assertEqual([], self.left())
        self.assertIn('source', self.log.output)


class TestDeleted(ReconcileTestCase):
    """The instance was deleted while its host was down."""

    def setUp(self):
        super().setUp()
        self.deleted = True

    def test_its_guest_goes_home(self):
        self.crashed()
        self.assertEqual([], self.run_it())
        self.assertEqual([], self.left())
        self.assertEqual([], self.ended)
        operations = [operation for _host, operation, _guest in self.asked]
        self.assertEqual('remove_deleted', operations[-1])
        self.assertEqual([samples.UUID], self.cleared)

    def test_its_guest_has_gone(self):
        self.gone_over()
        self.assertEqual([], self.run_it())
        self.assertEqual([], self.left())
        operations = [operation for _host, operation, _guest in self.asked]
        self.assertNotIn('remove_deleted', operations)
        self.assertEqual([samples.UUID], self.cleared)

    def test_what_is_left_over_there_cannot_be_removed(self):
        self.there._remove = self.fail_to_remove
        self.crashed()
        self.assertEqual([samples.UUID], self.run_it())
        self.assertEqual([samples.UUID], self.left())

    def fail_to_remove(self, guest):
        raise compat.MigrationError(reason=f'{guest} stays')


@ddt.ddt
class TestUnbegun(ReconcileTestCase):
    """Killed between Nova's preparation and the engine's journal."""

    def setUp(self):
        super().setUp()
        self.begun = False
        self.base = self.directory / 'base'
        self.base.touch()
        self.migrations = [migration(status='preparing')]

    @contextlib.contextmanager
    def preparing(self, source=base.HERE):
        """Bases are being made there, for a guest of a host."""
        with self.there.preparations.begun(samples.UUID):
            self.there.expected.note(samples.UUID, source, [str(self.base)])
            yield

    def assert_left_alone(self):
        self.assertEqual([], self.run_it())
        self.assertEqual([], self.ended)
        self.assertEqual([], self.saved)

    @ddt.data('preparing', 'running')
    def test_it_is_rolled_back(self, status):
        self.migrations = [migration(status=status)]
        with self.preparing():
            pass
        self.assertEqual([], self.run_it())
        self.assertEqual([('back', samples.UUID, base.THERE)], self.ended)

    def test_once_the_bases_are_made(self):
        with self.preparing():
            self.assert_left_alone()
        self.assertTrue(waiting.until(lambda: bool(self.ended), timeout=30))
        self.assertEqual([('back', samples.UUID, base.THERE)], self.ended)

    def test_no_bases_were_made(self):
        self.assert_left_alone()

    def test_bases_for_a_guest_of_another_host(self):
        with self.preparing(source='host-c'):
            pass
        self.assert_left_alone()

    def test_bases_that_are_gone(self):
        with self.preparing():
            pass
        self.base.unlink()
        self.assert_left_alone()

    def test_a_destination_without_us(self):
        """It says whether it has the file that it was not asked for."""
        api = compat.ComputeAPI.return_value
        api.check_instance_shared_storage.side_effect = (
            lambda *_args, **_more: False
        )
        self.assert_left_alone()
        self.assertNotIn('tried again', self.log.output)

    def test_the_instance_is_somewhere_else(self):
        self.facts = {'host': 'host-c'}
        with self.preparing():
            pass
        self.assert_left_alone()
        self.assertIn('by hand', self.log.output)

    def test_another_migration_came_after_it(self):
        self.migrations.append(migration(id=2, status='completed'))
        with self.preparing():
            pass
        self.assert_left_alone()
        self.assertIn('by hand', self.log.output)

    def test_its_instance_was_deleted(self):
        with self.preparing():
            pass
        self.deleted = True
        self.assert_left_alone()
        self.assertEqual([samples.UUID], self.cleared)

    def test_nova_is_busy_with_it(self):
        self.facts = {'task_state': 'powering-off'}
        with self.preparing():
            pass
        self.assert_left_alone()
        self.assertIn('powering-off', self.log.output)
        self.facts = {'task_state': None}
        self.assertTrue(waiting.until(lambda: bool(self.ended), timeout=30))


class TestLater(ReconcileTestCase):
    """What cannot be settled at the start is settled by itself later."""

    def go_on(self, *guests):
        it = reconcile.Reconciler(self.engine, self.manager)
        it.go_on(guests)
        return it

    def wait(self):
        self.assertTrue(waiting.until(lambda: not self.left(), timeout=30))

    def test_the_other_host_comes_back(self):
        self.silences = 3
        self.crashed()
        self.go_on(samples.UUID)
        self.wait()
        self.assertEqual([('back', samples.UUID, base.THERE)], self.ended)

    def test_one_comes_while_another_is_waited_for(self):
        self.crashed()
        self.gone_over(guest=OTHER, peer='host-c')
        it = self.go_on(OTHER)
        it.go_on([samples.UUID])
        self.assertTrue(waiting.until(lambda: bool(self.ended), timeout=30))
        self.assertEqual([OTHER], self.left())
        self.engine.journal.close(OTHER)

    def test_one_comes_after_all_are_settled(self):
        self.crashed()
        it = self.go_on(samples.UUID)
        self.wait()
        self.gone_over(guest=OTHER)
        it.go_on([OTHER])
        self.wait()
        self.assertEqual(
            [
                ('back', samples.UUID, base.THERE),
                ('there', OTHER, base.THERE),
            ],
            self.ended,
        )


@ddt.ddt
class TestNovasRecord(ReconcileTestCase):
    """What Nova has made of an instance until its migration is settled."""

    @ddt.data(None, 'migrating', 'deleting')
    def test_it_is_put_right(self, task):
        """Its start-up, a delete or an evacuation may have changed it."""
        self.facts = {'vm_state': 'error', 'task_state': task}
        self.migrations = [migration(status='error')]
        self.gone_over()
        self.assertEqual([], self.run_it())
        self.assertEqual([('there', samples.UUID, base.THERE)], self.ended)
        kinds = {type(each).__name__ for each in self.saved}
        self.assertEqual({'Migration', 'Instance'}, kinds)

    def test_nova_is_busy_with_it(self):
        self.facts = {'task_state': 'rebuilding'}
        self.crashed()
        self.assertEqual([samples.UUID], self.run_it())
        self.assertEqual([], self.asked)
        self.assertIn('rebuilding', self.log.output)

    def test_it_was_evacuated(self):
        """Its guest must not come to life here again."""
        self.facts = {'host': 'host-c'}
        for crash in (self.crashed, self.gone_over):
            crash()
            self.assertEqual([samples.UUID], self.run_it())
            self.assertIn('host-c', self.log.output)
            self.engine.journal.close(samples.UUID)
        self.assertEqual([], self.asked)
        self.assertEqual([], self.ended)

    def test_only_the_journal_was_left(self):
        """Nova had done its part, and had not been told to forget it."""
        self.facts = {'host': base.THERE, 'task_state': None}
        self.migrations = [migration(status='completed')]
        self.gone_over()
        self.assertEqual([], self.run_it())
        self.assertEqual([], self.ended)
        self.assertEqual([], self.left())

    def test_it_was_built_on_the_destination_before_it_had_moved(self):
        self.facts = {'host': base.THERE}
        self.crashed()
        self.assertEqual([samples.UUID], self.run_it())
        self.assertEqual([], self.asked)

    @ddt.data(
        {'id': 9, 'status': 'error', 'created_at': IN_FUTURE},
        {'id': 0, 'status': 'completed'},
        {'id': 9, 'status': 'error', 'dest_compute': 'host-c'},
    )
    def test_other_migrations_of_it(self, values):
        """Such as one that the journal has refused."""
        found = []
        self.manager._rollback_live_migration.side_effect = (
            lambda *_args, migrate_data, **_more: found.append(
                migrate_data.migration.id
            )
        )
        self.migrations.append(migration(**values))
        self.crashed()
        self.assertEqual([], self.run_it())
        self.assertEqual([1], found)
