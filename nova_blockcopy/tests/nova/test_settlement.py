# SPDX-License-Identifier: Apache-2.0
"""The end of one interrupted migration, by the engine and by Nova."""

import contextlib

import ddt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.nova import action_event
from nova_blockcopy.nova import compat
from nova_blockcopy.records import journal
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import reconcile_base
from nova_blockcopy.tests.nova import sqlite
from nova_blockcopy.tests.unit import samples

State = states.State
#: Of a later request than that for the migration.
_LATER = 'req-22222222-2222-3333-4444-555555555555'


class TestDeleted(reconcile_base.ReconcileTestCase):
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
class TestUnbegun(reconcile_base.ReconcileTestCase):
    """Killed between Nova's preparation and the engine's journal."""

    def setUp(self):
        super().setUp()
        self.begun = False
        self.base = self.directory / 'base'
        self.base.touch()
        self.migrations = [reconcile_base.migration(status='preparing')]

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
        self.migrations = [reconcile_base.migration(status=status)]
        with self.preparing():
            pass
        self.assertEqual([], self.run_it())
        self.assertEqual([('back', samples.UUID, base.THERE)], self.ended)

    def test_a_paused_one_is_rolled_back(self):
        saved = []
        self.manager._rollback_live_migration.side_effect = (
            lambda _context, instance, *_args, **_more: saved.append(
                instance.vm_state
            )
        )
        self.facts = {'vm_state': 'paused'}
        with self.preparing():
            pass
        self.run_it()
        self.assertEqual(['paused'], saved)

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
        self.migrations.append(
            reconcile_base.migration(id=2, status='completed')
        )
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


@ddt.ddt
class TestNovasRecord(reconcile_base.ReconcileTestCase):
    """What Nova has made of an instance until its migration is settled."""

    @ddt.data(None, 'migrating', 'deleting')
    def test_it_is_put_right(self, task):
        """Its start-up, a delete or an evacuation may have changed it."""
        self.facts = {'vm_state': 'error', 'task_state': task}
        self.migrations = [reconcile_base.migration(status='error')]
        self.gone_over()
        self.assertEqual([], self.run_it())
        self.assertEqual([('there', samples.UUID, base.THERE)], self.ended)
        kinds = {type(each).__name__ for each in self.saved}
        self.assertEqual({'Migration', 'Instance'}, kinds)

    def test_a_paused_one_stays_paused(self):
        """Also if Nova has called it an error meanwhile."""
        saved = []
        self.manager._rollback_live_migration.side_effect = (
            lambda _context, instance, *_args, **_more: saved.append(
                instance.vm_state
            )
        )
        memo = {'vm_state': 'paused'}
        for state in ('paused', 'error'):
            self.facts = {'vm_state': state}
            self.crashed(state=State.SETTLED, memo=memo)
            self.run_it()
        self.assertEqual(['paused', 'paused'], saved)

    @ddt.data((True, 'cancelled'), (False, 'failed'))
    @ddt.unpack
    def test_its_migration_says_whether_it_was_aborted(self, aborted, status):
        self.crashed(state=State.SETTLED, aborted=aborted)
        self.run_it()
        self.assertEqual([status], self.statuses)

    def test_only_the_allocation_was_left(self):
        self.facts = {'host': base.THERE, 'task_state': None}
        self.migrations = [reconcile_base.migration(status='completed')]
        self.gone_over()
        self.run_it()
        self.manager._delete_allocation_after_move.assert_called_once()

    def test_a_silent_destination_keeps_nova_from_half_a_part(self):
        self.crashed(
            state=State.SETTLED,
            authority=model.Role.DESTINATION,
            peer='host-c',
        )
        self.assertEqual([samples.UUID], self.run_it())
        self.assertEqual([], self.ended)
        self.assertEqual([], self.saved)

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
        self.migrations = [reconcile_base.migration(status='completed')]
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
        {'id': 9, 'status': 'error', 'created_at': reconcile_base.IN_FUTURE},
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
        self.migrations.append(reconcile_base.migration(**values))
        self.crashed()
        self.assertEqual([], self.run_it())
        self.assertEqual([1], found)


class TestShown(reconcile_base.ReconcileTestCase):
    """Nova's API shows the end of a migration that a crash interrupted."""

    def set_events(self):
        self.nova = self.useFixture(sqlite.NovasDatabase(self.directory))
        action_event.ActionEvent(self.nova.context, samples.UUID).begin()
        self.nova.act('live_migration_cancel', _LATER)

    def crashed(self, **values):
        return super().crashed(memo={'request_id': sqlite.REQUEST}, **values)

    def shown(self):
        (found,) = self.nova.events()
        return found.result, found.details

    def test_why_it_is_undone(self):
        self.crashed(state=State.SEEDING)
        self.run_it()
        result, details = self.shown()
        self.assertEqual('Error', result)
        self.assertIn('Rolled back: nova-compute on host-a ended', details)
        self.assertIn('seeding', details)
        self.assertTrue(details.endswith('Migrate again.'))

    def test_why_it_was_stuck(self):
        history = (
            journal.Entry(at='2026-01-01T00:00+00:00', state=State.PREPARING),
            journal.Entry(
                at='2026-01-01T00:01+00:00', state=State.STUCK, note='It hung.'
            ),
        )
        self.crashed(state=State.STUCK, history=history)
        self.run_it()
        self.assertEqual(('Error', 'Rolled back: It hung.'), self.shown())

    def test_it_goes_on(self):
        self.gone_over()
        self.run_it()
        self.assertEqual(('Success', None), self.shown())

    def test_what_the_engine_has_told_stays(self):
        event = action_event.ActionEvent(self.nova.context, samples.UUID)
        event.end(exception.BlockCopyError('It broke.'))
        self.crashed(state=State.SETTLED)
        self.run_it()
        self.assertEqual(('Error', 'It broke.'), self.shown())

    def test_only_bases_were_made(self):
        self.begun = False
        self.migrations = [reconcile_base.migration(status='preparing')]
        base_file = self.directory / 'base'
        base_file.touch()
        with self.there.preparations.begun(samples.UUID):
            self.there.expected.note(samples.UUID, base.HERE, [str(base_file)])
        self.run_it()
        (found,) = self.nova.events(_LATER)  # nothing tells of the request
        self.assertIn('before the disks began to move', found.details)
