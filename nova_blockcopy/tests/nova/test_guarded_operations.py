# SPDX-License-Identifier: Apache-2.0
"""Operations of Nova's that ask the journal first."""

import functools
import pathlib
import threading
from typing import Any

import ddt

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.nova import compat
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import driver_base
from nova_blockcopy.tests.nova import migrations
from nova_blockcopy.tests.unit import samples

SOURCE, DESTINATION = model.Role.SOURCE, model.Role.DESTINATION
State = states.State


#: Method, its arguments after context and instance, what is raised.
GUARDED: tuple[Any, ...] = (
    (
        'cleanup',
        ([], None, True),
        {'migrate_data': None, 'destroy_vifs': True},
        compat.MigrationError,
    ),
    ('destroy', ([], None, True), {}, compat.InstancePowerOffFailure),
    (
        'rollback_live_migration_at_destination',
        ([], {}, True, None),
        {},
        compat.MigrationError,
    ),
    ('spawn', ('meta', [], 'pw', {}), {}, compat.MigrationError),
    ('_hard_reboot', ([], 'share', {}, []), {}, compat.MigrationError),
    ('resume_state_on_host_boot', ([], 's', {}), {}, compat.MigrationError),
    (
        'snapshot',
        ('image', lambda *_more: None),
        {},
        compat.MigrationError,
    ),
    ('suspend', (), {}, compat.InstanceFaultRollback),
    ('rescue', ([], 'meta', 'pw', {}, 's'), {}, compat.MigrationError),
    (
        'migrate_disk_and_power_off',
        ('192.0.2.9', 'flavor', []),
        {'timeout': 0, 'retry_interval': 0},
        compat.InstanceFaultRollback,
    ),
)
#: Those that a destination's journal allows while its disks are copies.
REMOVALS = ('cleanup', 'destroy', 'rollback_live_migration_at_destination')


@ddt.ddt
class TestGuards(driver_base.DriverTestCase):
    def call(self, name, args, kwargs):
        return getattr(self.driver, name)(
            self.context, self.instance, *args, **kwargs
        )

    @ddt.named_data(*((row[0], *row) for row in GUARDED))
    @ddt.unpack
    def test_with_a_journal(self, name, args, kwargs, error):
        stock = self.fake_nova(name)
        self.journal.open(base.record(SOURCE, State.COPYING))
        self.assert_refused(
            error,
            samples.UUID,
            'copying',
            call=lambda: self.call(name, args, kwargs),
        )
        stock.assert_not_called()

    @ddt.named_data(*((row[0], *row) for row in GUARDED))
    @ddt.unpack
    def test_with_a_journal_of_a_guest_that_comes(
        self, name, args, kwargs, error
    ):
        stock = self.fake_nova(name)
        self.journal.open(base.record(DESTINATION, State.COPYING))
        if name in REMOVALS:
            self.call(name, args, kwargs)
            stock.assert_called_once()
        else:
            self.assert_refused(
                error, call=lambda: self.call(name, args, kwargs)
            )
            stock.assert_not_called()

    @ddt.data(*(row for row in GUARDED if row[0] in REMOVALS))
    @ddt.unpack
    def test_with_a_journal_of_a_guest_that_came(
        self, name, args, kwargs, error
    ):
        stock = self.fake_nova(name)
        self.journal.open(base.record(DESTINATION, State.PIVOTING))
        self.assert_refused(
            error, base.THERE, call=lambda: self.call(name, args, kwargs)
        )
        stock.assert_not_called()

    @ddt.named_data(*((row[0], *row) for row in GUARDED))
    @ddt.unpack
    def test_without_a_journal_it_is_novas(self, name, args, kwargs, _error):
        """Also with one of another instance."""
        stock = self.fake_nova(name, return_value='done')
        self.journal.open(base.record(guest=base.VOLUME))
        result = self.call(name, args, kwargs)
        stock.assert_called_once_with(
            self.driver, self.context, self.instance, *args, **kwargs
        )
        if name == 'migrate_disk_and_power_off':
            self.assertEqual('done', result)

    def test_a_suspend_that_is_refused_keeps_the_instances_state(self):
        """Nova unpacks what is in this error, and leaves it ACTIVE."""
        self.journal.open(base.record())
        error = self.assertRaises(
            compat.InstanceFaultRollback,
            self.driver.suspend,
            self.context,
            self.instance,
        )
        self.assertIs(compat.MigrationError, type(error.inner_exception))

    def test_a_guest_that_is_started(self):
        stock = self.fake_nova('_create_guest', return_value='guest')
        start = functools.partial(
            self.driver._create_guest,
            self.context,
            '<domain/>',
            self.instance,
            power_on=False,
        )
        self.assertEqual('guest', start())
        stock.assert_called_once_with(
            self.driver,
            self.context,
            '<domain/>',
            self.instance,
            power_on=False,
        )
        for role in (SOURCE, DESTINATION):
            self.journal.open(base.record(role))
            self.assert_refused(
                compat.MigrationError, samples.UUID, call=start
            )
            self.journal.close(samples.UUID)
        stock.assert_called_once()

    def test_files(self):
        folder = self.instances / samples.UUID
        folder.mkdir()
        (folder / 'disk').touch()
        self.journal.open(base.record())
        self.assert_refused(
            compat.MigrationError,
            call=lambda: self.driver.delete_instance_files(self.instance),
        )
        self.assertTrue((folder / 'disk').exists())
        self.journal.close(samples.UUID)
        self.assertTrue(self.driver.delete_instance_files(self.instance))
        self.assertEqual([], list(self.instances.iterdir()))

    def test_volumes(self):
        stock = self.fake_nova('_cleanup_lvm')
        self.journal.open(base.record())
        self.assert_refused(
            compat.MigrationError,
            call=lambda: self.driver._cleanup_lvm(self.instance, {}),
        )
        stock.assert_not_called()
        self.journal.close(samples.UUID)
        self.driver._cleanup_lvm(self.instance, {})
        stock.assert_called_once_with(self.driver, self.instance, {})

    def test_one_that_was_evacuated_only_stops(self):
        """It must not run twice, and its disks are not Nova's to remove."""
        stock = self.fake_nova('destroy')
        off = self.fake_nova('power_off')
        self.instance.host = 'host-c'
        self.journal.open(base.record(SOURCE, State.EXPORTING))
        self.driver.destroy(self.context, self.instance, [], None, True)
        off.assert_called_once_with(self.driver, self.instance)
        stock.assert_not_called()
        self.assertIn('host-c', self.log.output)

    def test_what_nova_calls_below_is_guarded_too(self):
        """A way of Nova's that does not go through ``destroy``."""
        self.fake_nova('_destroy')
        self.journal.open(base.record(DESTINATION, State.RELEASING))
        self.assert_refused(
            compat.MigrationError,
            call=lambda: compat.LibvirtDriver.destroy(
                self.driver, self.context, self.instance, [], None, True
            ),
        )


@ddt.ddt
class TestSettled(driver_base.DriverTestCase):
    """The disks are done, and Nova's part is not."""

    def setUp(self):
        super().setUp()
        for name in ('cleanup', '_hard_reboot', 'destroy', 'snapshot'):
            self.fake_nova(name)

    def settled(self, role, authority):
        self.journal.open(
            base.record(role, State.SETTLED, authority=authority)
        )

    def reboot(self):
        self.driver._hard_reboot(self.context, self.instance, [], [])

    def cleanup(self):
        self.driver.cleanup(self.context, self.instance, [])

    def destroy(self):
        self.driver.destroy(self.context, self.instance, [])

    def snapshot(self):
        self.driver.snapshot(self.context, self.instance, 'picture', None)

    def resize(self):
        self.driver.migrate_disk_and_power_off(
            self.context, self.instance, 'host-c', None, []
        )

    def test_the_source_of_a_guest_that_is_gone(self):
        """Nova removes its disks, and nobody starts a second guest."""
        self.settled(SOURCE, DESTINATION)
        self.cleanup()
        for call in (self.reboot, self.snapshot):
            self.assert_refused(compat.MigrationError, 'settled', call=call)
        self.assert_refused(
            compat.InstancePowerOffFailure, base.THERE, call=self.destroy
        )

    @ddt.data(base.HERE, base.THERE)
    def test_the_destination_of_a_guest_that_has_come(self, host):
        """It is the user's as soon as Nova has it here."""
        self.instance.host = host
        self.settled(DESTINATION, DESTINATION)
        for call in (self.reboot, self.snapshot, self.cleanup):
            if host == base.HERE:
                call()
            else:
                self.assert_refused(compat.MigrationError, call=call)
        self.assert_refused(compat.InstanceFaultRollback, call=self.resize)

    def test_the_source_of_a_guest_that_has_come_back(self):
        self.settled(SOURCE, SOURCE)
        for call in (self.reboot, self.snapshot, self.cleanup, self.destroy):
            call()
        self.assert_refused(compat.InstanceFaultRollback, call=self.resize)

    def test_the_destination_of_a_guest_that_has_not_come(self):
        self.instance.host = base.THERE
        self.settled(DESTINATION, SOURCE)
        for call in (self.cleanup, self.destroy):
            call()
        self.assert_refused(compat.MigrationError, call=self.reboot)


class TestDelete(driver_base.LiveMigrationTestCase):
    """Nova's API lets an instance be deleted while it moves."""

    def setUp(self):
        super().setUp()
        self.gone: list[Any] = []
        self.fake_nova(
            'destroy', side_effect=lambda *_given: self.gone.append(True)
        )

    def destroy(self):
        self.driver.destroy(self.context, self.instance, [], None, True)

    def run_beside(self, work):
        thread = threading.Thread(target=work)
        thread.start()
        self.addCleanup(thread.join, 30)
        return thread

    def test_the_move_is_taken_back_first(self):
        self.fake_nova('live_migration_abort')
        order = []

        def act(migration):
            self.journal.open(base.record(SOURCE, State.COPYING))
            deleting = self.run_beside(self.destroy)
            self.assertTrue(
                waiting.until(lambda: migration.aborts == 1, timeout=30)
            )
            order.append(('undone', list(self.gone)))
            self.journal.close(samples.UUID)
            self.threads.append(deleting)
            raise migrations.ABORTED

        self.act = act
        self.migrate()
        self.threads[0].join(30)
        self.assertEqual([('undone', [])], order)
        self.assertEqual([True], self.gone)
        self.assertEqual([('cancelled', base.THERE)], self.ended)

    def test_one_that_is_stuck_stays(self):
        self.journal.open(base.record(SOURCE, State.STUCK))
        self.assert_refused(
            compat.InstancePowerOffFailure, 'stuck', call=self.destroy
        )
        self.assertEqual([], self.gone)

    def test_during_the_pivot_it_can_be_deleted_again_later(self):
        said = []

        def act(migration):
            migration.reversible = False
            said.append(
                self.assertRaises(compat.InstancePowerOffFailure, self.destroy)
            )

        self.act = act
        self.migrate()
        self.assertIn('too late', str(said[0]))
        self.assertEqual([], self.gone)
        self.assertEqual([('done', base.THERE)], self.ended)


@ddt.ddt
class TestUnreadableJournal(driver_base.LiveMigrationTestCase):
    """Nobody knows what may be done, so nothing is."""

    def setUp(self):
        super().setUp()
        path = pathlib.Path(self.journal.path(self.instance.uuid))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{')

    @ddt.data(
        (
            'check_can_live_migrate_destination',
            ({}, {}, True, False),
            'MigrationPreCheckError',
        ),
        ('destroy', ([],), 'InstancePowerOffFailure'),
        ('suspend', (), 'InstanceFaultRollback'),
        ('delete_instance_files', None, 'MigrationError'),
    )
    @ddt.unpack
    def test_it_is_refused(self, method, arguments, kind):
        given = (
            (self.instance,)
            if arguments is None
            else (self.context, self.instance, *arguments)
        )
        error = self.assertRaises(
            getattr(compat, kind), getattr(self.driver, method), *given
        )
        self.assertIs(getattr(compat, kind), type(error))
