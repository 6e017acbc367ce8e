# SPDX-License-Identifier: Apache-2.0
"""Nova's own live migration and monitor, around the engine."""

import functools
import json
import threading
import time
from typing import Any

import ddt
import fixtures
import libvirt
import oslo_messaging
from nova import objects
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import guest as nova_guest

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import live_migration
from nova_blockcopy.nova import memo
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import driver_base
from nova_blockcopy.tests.nova import guests
from nova_blockcopy.tests.nova import migrations
from nova_blockcopy.tests.nova import sqlite
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

State = states.State


class Clock:
    """The module ``time``, with hours that pass at once."""

    passed = 0.0

    def __getattr__(self, name):
        return getattr(time, name)

    def time(self):
        return time.time() + self.passed


def announced(name, event):
    """A method of a live migration that tells that it was called."""
    owner = live_migration.LiveMigration
    real = getattr(owner, name)

    def call(*args):
        event.set()
        return real(*args)

    path = f'{owner.__module__}.{owner.__name__}.{name}'
    return fixtures.MonkeyPatch(path, call)


@ddt.ddt
class TestLiveMigration(driver_base.LiveMigrationTestCase):
    def test_done(self):
        self.migrate()
        self.assertEqual([('done', base.THERE)], self.ended)

    @ddt.data(migrations.FAILED, migrations.REFUSED)
    def test_taken_back(self, error):
        self.act = self.raises(error)
        self.migrate()
        self.assertEqual([('failed', base.THERE)], self.ended)

    def test_aborted(self):
        self.act = self.raises(migrations.ABORTED)
        self.migrate()
        self.assertEqual([('cancelled', base.THERE)], self.ended)

    @ddt.data(migrations.STUCK, KeyError('what'))
    def test_stuck(self, error):
        """Nova neither goes on nor takes anything back."""
        self.act = self.raises(error)
        raised = self.assert_refused(compat.MigrationError, call=self.migrate)
        self.assertIn(str(error), raised)
        self.assertEqual([], self.ended)
        self.driver._reconciler.go_on.assert_called_once_with([samples.UUID])

    def test_one_that_is_not_stuck_is_not_settled_again(self):
        self.migrate()
        self.driver._reconciler.go_on.assert_not_called()

    def test_refused_by_the_engine(self):
        self.engine.side_effect = migrations.REFUSED
        self.migrate()
        self.assertEqual([('failed', base.THERE)], self.ended)
        self.assertIn(str(migrations.REFUSED), self.log.output)

    def test_what_the_engine_is_given(self):
        bases = {'/dev/vg/root': model.BaseRequest(path='/dev/there/root')}
        self.conf.config(
            group='libvirt', live_migration_inbound_addr='198.51.100.7'
        )
        self.migrate(
            handshake.Terms(agreed=True, bases=bases),
            target_connect_addr='198.51.100.8',
        )
        (asked,) = self.asked
        self.assertEqual(samples.UUID, asked['request'].guest)
        self.assertEqual(base.THERE, asked['request'].dest)
        self.assertEqual(bases, asked['request'].bases)
        self.assertIsInstance(asked['channel'], channel.RpcChannel)
        self.assertEqual(
            model.Endpoint(
                uri='qemu+tcp://198.51.100.8/system',
                migrate_uri='tcp://198.51.100.8',
            ),
            asked['request'].destination,
        )
        self.assertEqual(
            model.Endpoint(
                uri='qemu+tcp://198.51.100.7/system',
                migrate_uri='tcp://198.51.100.7',
            ),
            asked['request'].home,
        )

    @ddt.data({}, {'target_connect_addr': None})
    def test_hosts_are_reached_by_their_names_without_an_address(self, more):
        self.migrate(**more)
        (asked,) = self.asked
        self.assertEqual(
            'qemu+tcp://host-b/system', asked['request'].destination.uri
        )
        self.assertEqual('qemu+tcp://host-a/system', asked['request'].home.uri)

    def test_novas_xml_with_our_disks_is_what_libvirt_gets(self):
        """Our entry among the volumes disturbs nothing on the way."""
        self.act = lambda _migration: self.switch()
        self.migrate()
        self.assertEqual([('done', base.THERE)], self.ended)
        ((uri, params, flags),) = self.domain.migrated
        self.assertEqual('qemu+tcp://host-b/system', uri)
        found = domxml.disks(params['destination_xml'])
        self.assertEqual([], guests.away_from_exports(found))
        self.assertEqual(
            domxml.disks(self.XML)['vdb'].source, found['vdb'].source
        )
        self.assertTrue(flags & libvirt.VIR_MIGRATE_UNSAFE)
        self.assertFalse(flags & libvirt.VIR_MIGRATE_NON_SHARED_INC)
        self.assertNotIn('migrate_disks', params)
        (call,) = self.network.migrate_instance_start.call_args_list
        self.assertEqual(base.THERE, call.args[2].dest_compute)

    def test_a_guest_that_is_over_there_is_not_at_home_yet(self):
        """Nova goes on when the disks are there too, not before."""
        seen = []

        def act(_migration):
            self.switch()
            current = self.driver._live_migrations[samples.UUID]
            watched = live_migration.WatchedGuest(self.guest, current)
            seen.extend([watched.get_job_info().type, list(self.ended)])

        self.act = act
        self.migrate()
        self.assertEqual([libvirt.VIR_DOMAIN_JOB_NONE, []], seen)
        self.assertEqual([('done', base.THERE)], self.ended)

    def test_novas_clock_begins_with_the_switchover(self):
        """Hours of seeding are no reason for Nova to abort."""
        clock = Clock()
        self.useFixture(
            fixtures.MonkeyPatch(f'{libvirt_driver.__name__}.time', clock)
        )
        begun = threading.Event()
        # the second one is Nova's monitor, for which it would be too early
        for name in ('wait_for_switchover', 'job_info'):
            self.useFixture(announced(name, begun))
        abort = self.fake(nova_guest.Guest, 'abort_job')

        def act(migration):
            migration.state = State.SEEDING
            self.assertTrue(begun.wait(10))
            clock.passed += 36_000
            self.domain.kind = libvirt.VIR_DOMAIN_JOB_UNBOUNDED
            migration.state = State.SWITCHING
            self.assertTrue(self.domain.polled.wait(10))
            migration.state = State.COPYING

        self.act = act
        self.migrate()
        self.assertEqual([('done', base.THERE)], self.ended)
        abort.assert_not_called()

    def test_a_failed_switchover_is_taken_back(self):
        self.domain.error = fakes.libvirt_error(message='no route')
        seen = []

        def act(_migration):
            try:
                self.switch()
            except exception.SwitchoverError as e:
                seen.append(str(e))
                raise migrations.undone(e) from e

        self.act = act
        self.migrate()
        self.assertIn('no route', seen[0])
        self.assertEqual([('failed', base.THERE)], self.ended)

    def test_the_figures_are_those_of_the_engine(self):
        def act(_migration):
            self.asked[0]['listener'](
                progress.Progress(
                    state=State.COPYING,
                    disks=(
                        model.DiskProgress(
                            disk='vda', processed_bytes=3, total_bytes=10
                        ),
                    ),
                )
            )

        self.act = act
        self.migrate()
        self.wait_for_figures()
        (record,) = self.saved
        self.assertEqual(
            (10, 3, 7),
            (
                record.disk_total,
                record.disk_processed,
                record.disk_remaining,
            ),
        )

    @ddt.data(None, handshake.Terms())
    def test_without_an_agreement_it_is_novas(self, terms):
        self.fake_nova(
            '_live_migration_copy_disk_paths',
            return_value=(['/dev/vg/root'], ['vda']),
        )
        self.migrate(terms)
        self.assertEqual([], self.asked)
        self.assertEqual([('done', base.THERE)], self.ended)
        ((_uri, params, flags),) = self.domain.migrated
        self.assertEqual(['vda'], params['migrate_disks'])
        self.assertTrue(flags & libvirt.VIR_MIGRATE_NON_SHARED_INC)
        self.assertFalse(flags & libvirt.VIR_MIGRATE_UNSAFE)

    def test_it_is_forgotten_in_the_end(self):
        """The next one may be one that only Nova takes part in."""
        for act in (self.raises(migrations.FAILED), self.act):
            self.act = act
            self.migrate()
            self.assertEqual(1, len(self.asked))
            del self.asked[:]
        self.fake_nova(
            '_live_migration_copy_disk_paths', return_value=([], ['vda'])
        )
        self.migrate(None)
        self.assertEqual([], self.asked)


@ddt.ddt
class TestShown(driver_base.LiveMigrationTestCase):
    """What Nova's API shows of the end."""

    def the_event(self):
        (found,) = self.nova.events()
        return found

    def test_done(self):
        self.migrate()
        self.assertEqual('Success', self.the_event().result)
        self.assertIsNone(self.nova.fault())

    def test_while_it_runs(self):
        shown = []
        self.act = lambda _migration: shown.append(self.the_event())
        self.migrate()
        self.assertIsNone(shown[0].finish_time)

    def test_taken_back(self):
        """The instance is ACTIVE, so Nova would not show a fault."""
        self.act = self.raises(migrations.FAILED)
        self.migrate()
        self.assertEqual(
            ('Error', 'Rolled back: The copy of disk vda failed: so'),
            (self.the_event().result, self.the_event().details),
        )
        self.assertIsNone(self.nova.fault())

    def test_refused_by_the_engine(self):
        self.engine.side_effect = migrations.REFUSED
        self.migrate()
        self.assertEqual(str(migrations.REFUSED), self.the_event().details)

    def test_stuck(self):
        """Nova puts the instance into ERROR, and then shows its fault."""
        self.act = self.raises(migrations.STUCK)
        self.assertRaises(compat.MigrationError, self.migrate)
        self.assertEqual(str(migrations.STUCK), self.the_event().details)
        self.assertEqual(str(migrations.STUCK), self.nova.fault().message)

    def test_novas_monitor_fails_before_the_engine_begins(self):
        self.fake_nova('_live_migration', side_effect=KeyError('what'))
        self.assertRaises(KeyError, self.migrate)
        self.assertEqual("'what'", self.the_event().details)
        self.assertEqual("'what'", self.nova.fault().message)

    def test_novas_part_fails_after_the_engine(self):
        """The engine has done its part, and Nova tells why it has not."""
        self.__dict__['post'] = self.fail
        self.assertRaises(KeyError, self.migrate)
        self.assertEqual('Success', self.the_event().result)
        self.assertEqual("'what'", self.nova.fault().message)

    def fail(self, *_arguments):
        raise KeyError('what')

    def test_nova_cannot_show_anything(self):
        for kind, name in (
            (compat.InstanceActionEvent, 'event_start'),
            (compat.InstanceActionEvent, 'event_finish_with_failure'),
        ):
            self.fake(kind, name, side_effect=oslo_messaging.MessagingTimeout)
        self.migrate()
        self.assertEqual([('done', base.THERE)], self.ended)


class TestEnd(driver_base.LiveMigrationTestCase):
    """The journals, when the engine has held them for Nova's part."""

    def setUp(self):
        super().setUp()
        self.orders: list[Any] = []
        self.fake(compat, 'ComputeAPI')
        api = compat.ComputeAPI.return_value
        api.check_instance_shared_storage.side_effect = self.answer
        self.silent = False

    def answer(self, context, data, host):
        if self.silent:
            raise oslo_messaging.MessagingTimeout('no answer')
        message = data[channel.KEY]
        self.orders.append((host, message['operation'], message['keep']))
        return {}

    def settled(self, authority, **values):
        def act(_migration):
            self.journal.open(
                base.record(state=State.SETTLED, authority=authority, **values)
            )

        self.act = act

    def test_both_are_closed_when_nova_has_gone_on(self):
        self.settled(model.Role.DESTINATION)
        self.migrate()
        self.assertEqual([(base.THERE, 'finish', False)], self.orders)
        self.assertEqual([], self.journal.guests())

    def test_a_destination_closes_its_own_after_its_own_rollback(self):
        settle = self.settled
        settle(model.Role.SOURCE)
        act = self.act

        def back(migration):
            act(migration)
            raise migrations.FAILED

        self.act = back
        self.migrate()
        self.assertEqual([], self.orders)
        self.assertEqual([], self.journal.guests())

    def test_that_of_another_migration_stays(self):
        self.settled(model.Role.DESTINATION, migration='m0')
        self.migrate()
        self.assertEqual([samples.UUID], self.journal.guests())

    def test_it_is_finished_later_if_nova_fails(self):
        self.settled(model.Role.DESTINATION)
        self.__dict__['post'] = self.fail
        self.assertRaises(KeyError, self.migrate)
        self.assertEqual([samples.UUID], self.journal.guests())
        self.driver._reconciler.go_on.assert_called_once_with([samples.UUID])

    def fail(self, *_arguments):
        raise KeyError('broke')

    def test_a_silent_destination_is_no_error_of_the_instance(self):
        self.silent = True
        self.settled(model.Role.DESTINATION)
        self.migrate()
        self.assertEqual([('done', base.THERE)], self.ended)
        self.assertEqual([samples.UUID], self.journal.guests())
        self.driver._reconciler.go_on.assert_called_once_with([samples.UUID])

    def test_nobody_settles_what_the_engine_still_works_at(self):
        """Nova's monitor fails, and the engine undoes the migration."""
        go_on = self.driver._reconciler.go_on
        begun, done = threading.Event(), threading.Event()

        def act(_migration):
            begun.set()
            self.assertTrue(done.wait(10))
            go_on.assert_not_called()

        def monitor(*_arguments):
            self.assertTrue(begun.wait(10))
            raise KeyError('broke')

        self.act = act
        self.fake_nova('_live_migration_monitor', side_effect=monitor)
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{live_migration.__name__}.LiveMigration.wait_for_switchover',
                lambda _self: None,
            )
        )
        self.assertRaises(KeyError, self.migrate)
        done.set()
        self.assertTrue(waiting.until(lambda: go_on.called, timeout=10))
        go_on.assert_called_once_with([samples.UUID])

    def test_what_novas_part_needs_after_a_crash(self):
        devices = objects.BlockDeviceMappingList(
            objects=[
                objects.BlockDeviceMapping(
                    volume_id=base.VOLUME, connection_info='{"here": 1}'
                )
            ]
        )
        post = functools.partial(self.post_with, source_bdms=devices)
        self.__dict__['post'] = post
        self.instance.vm_state = 'paused'
        self.migrate()
        packed = json.loads(json.dumps(self.asked[0]['request'].memo))
        found = memo.unpack(self.context, packed)
        self.assertEqual('paused', found.vm_state)
        self.assertEqual(sqlite.REQUEST, found.request_id)
        self.assertEqual(sqlite.REQUEST, memo.request_id(packed))
        self.assertTrue(handshake.agreed(found.migrate_data))
        self.assertEqual(1, found.migrate_data.migration.id)
        (device,) = found.source_bdms
        self.assertEqual('{"here": 1}', device.connection_info)

    def post_with(self, *_arguments, source_bdms):
        self.ended.append(source_bdms)


class TestLiveMigrationAbort(driver_base.LiveMigrationTestCase):
    def setUp(self):
        super().setUp()
        self.stock = self.fake_nova('live_migration_abort')

    def abort(self):
        self.driver.live_migration_abort(self.instance)

    def test_none_of_ours_is_novas(self):
        self.abort()
        self.stock.assert_called_once_with(self.driver, self.instance)

    def test_it_is_the_engines(self):
        moved = []

        def act(migration):
            migration.state = State.COPYING
            self.abort()
            moved.append(migration.aborts)
            raise migrations.ABORTED

        self.act = act
        self.migrate()
        self.assertEqual([1], moved)
        self.assertEqual([('cancelled', base.THERE)], self.ended)
        self.stock.assert_not_called()

    def test_in_the_switchover_libvirt_is_told_too(self):
        def act(migration):
            migration.state = State.SWITCHING
            self.abort()
            raise migrations.ABORTED

        self.act = act
        self.migrate()
        self.assertEqual([('cancelled', base.THERE)], self.ended)
        self.stock.assert_called_once_with(self.driver, self.instance)

    def test_a_switchover_that_has_just_ended(self):
        self.stock.side_effect = fakes.libvirt_error(message='no job')

        def act(migration):
            migration.state = State.SWITCHING
            self.abort()
            raise migrations.ABORTED

        self.act = act
        self.migrate()
        self.assertEqual([('cancelled', base.THERE)], self.ended)

    def test_too_late(self):
        def act(migration):
            migration.reversible = False
            self.assert_refused(
                compat.MigrationError, 'too late', call=self.abort
            )
            moved.append(True)

        moved: list[bool] = []
        self.act = act
        self.migrate()
        self.assertEqual([True], moved)
        self.assertEqual([('done', base.THERE)], self.ended)


class TestGivenUp(driver_base.LiveMigrationTestCase):
    def test_novas_way_alone_is_never_taken(self):
        """Its monitor failed before the operation had begun."""
        self.assertRaises(
            compat.MigrationError,
            self.driver._live_migration_operation,
            self.context,
            self.instance,
            base.THERE,
            True,
            self.said(driver_base.AGREED),
            self.guest,
            [],
        )
        self.assertEqual([], self.asked)
