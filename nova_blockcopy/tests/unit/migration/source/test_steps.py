# SPDX-License-Identifier: Apache-2.0
"""Each step, and its way back, over both real sides of the engine."""

import pathlib
from typing import Any
from typing import ClassVar
from unittest import mock

import ddt
import fixtures
import libvirt

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration.source import steps
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.migration import world

IO_ERROR = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)


def failing(message='it broke', times=None):
    """A hook that raises, so many times or always."""
    left = [times]

    def hook(*_arguments):
        if left[0] is not None:
            if not left[0]:
                return
            left[0] -= 1
        raise fakes.libvirt_error(message=message)

    return hook


def without_store(xml, target):
    """A domain that tells of one layer only of this disk."""
    root = domxml.parse(xml)
    path = f'devices/disk[target/@dev="{target}"]/backingStore'
    stores: Any = root.xpath(path)
    (store,) = stores
    for child in list(store):
        store.remove(child)
    del store.attrib['type']
    return root


def failing_copy(disk):
    raise exception.DriverError(action='start', disk=disk, reason='it broke')


@ddt.ddt
class TestWay(world.WorldTestCase):
    def test_all_steps_in_order(self):
        before = self.a.machines[samples.UUID]
        record = self.migration().run()
        self.assert_arrived()
        self.assertIsNot(before, self.b.machines[samples.UUID])
        self.assertEqual('releasing', record.state)
        self.assertEqual(model.Role.DESTINATION, record.authority)
        order = 'preparing exporting switching copying ready pivoting'
        self.assertEqual([*order.split(), 'releasing', 'ended'], self.seen)
        self.assertEqual(['prepare', 'copy', 'pivot', 'finish'], self.asked)
        self.assertEqual(
            ['start vda', 'start vdb', 'stop vda', 'stop vdb'],
            self.exporter.log,
        )

    def test_the_guest_travels_on_exports(self):
        arrived = []

        def settle(machine):
            arrived.append(machine.xml)
            return machine

        self.b.settle = settle
        self.migration().run()
        self.assertEqual(2, arrived[0].count('protocol="nbd"'))
        ((_uri, parameters, flags),) = self.a.migrations
        self.assertEqual(
            2, parameters['persistent_xml'].count('protocol="nbd"')
        )
        # libvirt takes local files for lost
        self.assertTrue(flags & libvirt.VIR_MIGRATE_UNSAFE)

    def test_the_journal_comes_before_the_act(self):
        said: dict[str, Any] = {}
        self.exporter.on_start = lambda disk: said.setdefault(
            disk, self.record('a')
        )
        self.a.on_migrate = lambda _machine: said.setdefault(
            'switch', self.record('a')
        )
        self.arriving(
            on_pivot=lambda disk: said.setdefault(
                f'pivot {disk}', (self.record('a'), self.record('b'))
            )
        )
        self.migration().run()
        self.assertEqual('exporting', said['vda'].state)
        (planned,) = said['vda'].exports
        self.assertEqual('vda', planned.disk)
        self.assertEqual('switching', said['switch'].state)
        self.assertEqual(
            ['vda', 'vdb'],
            [export.disk for export in said['switch'].exports],
        )
        for record in said['pivot vda']:
            self.assertEqual('pivoting', record.state)
            self.assertEqual(model.Role.SOURCE, record.authority)
        self.assertEqual(('vda',), said['pivot vdb'][1].pivoted)

    def test_a_transient_guest(self):
        self.machine.definition = None
        self.migration().run()
        self.assertEqual({}, self.a.machines)
        machine = self.b.machines[samples.UUID]
        self.assertIsNone(machine.definition)
        self.assertIn(self.path('b', 'vda'), machine.xml)

    def test_a_disk_that_is_left_alone(self):
        drive = samples.disk_xml('sda', '', device='cdrom')
        drive = drive.replace('<target', '<readonly/><target')
        xml = self.home_xml.replace('<console', f'{drive}<console')
        self.machine.xml = self.machine.definition = xml
        self.migration().run()
        self.assert_arrived()

    def test_a_switch_of_the_callers_own(self):
        def switch(live, persistent, _cancelled):
            self.assertEqual(2, live.count('protocol="nbd"'))
            del self.a.machines[samples.UUID]
            machine = fakes.Machine(live, persistent)
            machine.carry = self.carry
            self.b.machines[samples.UUID] = machine

        self.migration(switch=switch).run()
        self.assertEqual([], self.a.migrations)
        self.assert_arrived()


@ddt.ddt
class TestPrepare(world.WorldTestCase):
    def test_a_refusal_is_what_it_is(self):
        self.make_image('b', 'vdb', world.SIZE + 512)
        error = self.refused(exception.BaseRefused, self.migration().run)
        self.assertIn('too large', str(error))
        self.assertIn(self.path('b', 'vdb'), str(error))
        self.assert_untouched()
        self.assertEqual([], self.exporter.log)

    def test_an_abort_during_it_leaves_no_journal(self):
        self.when('preparing', lambda: self.running.abort())
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.Aborted)

    def test_a_channel_that_fails(self):
        def on_message(message):
            if message['operation'] == 'prepare':
                raise exception.PeerError(operation='x', reason='no answer')

        self.on_message = on_message
        self.assertIn('no answer', str(self.undone()))


class ExportTestCase(world.WorldTestCase):
    def exported(self, **changes):
        """What is served when the guest is about to move.

        Of each disk: the image's name, whether it is served by its content,
        and whether it may be written to.
        """
        self.migration(**changes).run(through=states.State.EXPORTING)
        found: dict[str, list[Any]] = {disk: [] for disk in self.disks}
        record = self.record('a')
        for export in record.exports:
            image = self.exporter.served[export.name]
            name = image.path.replace(record.migration, 'ID')
            found[export.disk].append(
                (
                    name.removeprefix(f'{self.directory}/a/'),
                    export.content,
                    export.writable,
                )
            )
        # and nothing else is
        self.assertEqual(len(record.exports), len(self.exporter.served))
        return found


class TestExport(ExportTestCase):
    def test_in_direct_mode_the_top_layer_is(self):
        self.make_layered('vdb')
        self.assertEqual(
            {disk: [(disk, False, True)] for disk in self.disks},
            self.exported(),
        )

    def test_what_moves_as_a_whole_is_served_in_two_parts(self):
        self.make_layered('vdb')
        self.assertEqual(
            {
                'vda': [('vda', False, True)],
                'vdb': [('vdb', False, True), ('vdb.below', True, False)],
            },
            self.exported(bases=self.whole('vdb')),
        )

    def test_what_was_started_is_stopped(self):
        def on_start(disk):
            if disk == 'vdb':
                raise exception.ExportError(path=disk, reason='it broke')

        self.exporter.on_start = on_start
        self.assertIn('it broke', str(self.undone()))
        # vdb too: its start may have got further than it said
        self.assertEqual(
            ['start vda', 'stop vda', 'stop vdb'], self.exporter.log
        )
        self.assertEqual([], self.a.migrations)

    def test_an_export_that_cannot_be_stopped(self):
        self.a.on_migrate = failing()

        def on_stop():
            raise exception.ExportError(path='x', reason='it stays')

        self.exporter.on_stop = on_stop
        error = self.stuck()
        self.assertIn('it stays', str(error))
        self.assertIn('it broke', str(error))
        self.assertIsNotNone(self.record('b'))


class TestSwitchover(world.WorldTestCase):
    def test_a_guest_that_did_not_move(self):
        self.a.on_migrate = failing('no route')
        self.assertIn('no route', str(self.undone()))
        self.assertNotIn('give_back', self.asked)

    def test_a_guest_that_moved_although_the_call_failed(self):
        self.a.after_migrate = failing('connection lost')
        self.migration().run()
        self.assert_arrived()

    def test_a_guest_that_ended_before_it_left(self):
        def on_migrate(machine):
            machine.power_off()
            raise fakes.libvirt_error(message='it crashed')

        self.a.on_migrate = on_migrate
        self.assertIn('it crashed', str(self.ended('host-a')))

    def test_a_guest_that_ended_when_it_had_come(self):
        self.arriving(pace=0)
        self.when_copying(lambda machine: machine.power_off())
        self.ended(self.away)
        self.assertNotIn('give_back', self.asked)

    def test_a_guest_that_ended_and_whose_log_is_not_told(self):
        def on_message(message):
            if message['operation'] == 'qemu_log':
                raise exception.PeerError(operation='x', reason='no answer')

        self.on_message = on_message
        self.arriving(pace=0)
        self.when_copying(lambda machine: machine.power_off())
        error = self.undone(exception.GuestEnded)
        for part in (f'has ended on {self.away}', 'no answer'):
            self.assertIn(part, str(error))

    def test_a_libvirt_that_is_silent_in_the_end(self):
        """All was put back before, and nobody knows that the guest ended."""
        power = hypervisor.Guest.power
        discarded: list[str] = []

        def on_message(message):
            discarded.extend({'discard'} & {message['operation']})

        def silent(guest):
            if discarded and guest.host == 'host-a':
                raise exception.HypervisorError(
                    host=guest.host, action='tell', reason='it is silent'
                )
            return power(guest)

        self.on_message = on_message
        self.arriving(on_start=failing_copy)
        with mock.patch.object(hypervisor.Guest, 'power', silent):
            self.undone()

    def test_a_migration_that_still_goes_on(self):
        self.a.lingers = True
        self.a.on_migrate = failing()
        self.assertIn('still migrates the guest', str(self.stuck()))
        self.assert_all_served()

    def test_a_guest_that_came_back_but_does_not_run(self):
        def settle(machine):
            machine.condition = (libvirt.VIR_DOMAIN_SHUTOFF, 0)
            return machine

        self.options = {'call_timeout': 1}
        self.a.settle = settle
        self.arriving(on_start=failing_copy)
        self.assertIn('does not run on its source', str(self.stuck()))
        self.assert_all_served()


class TestCopy(world.WorldTestCase):
    #: What is served for a disk of one layer and for one of two.
    revived: ClassVar[list[str]] = ['vda', 'vdb', 'vdb']
    back: ClassVar[list[str]] = ['abort', 'give_back', 'discard']

    def test_a_copy_that_cannot_start(self):
        self.arriving(on_start=failing_copy)
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.DriverError)
        self.assertEqual(self.back, self.asked[self.asked.index('copy') + 1 :])

    def test_a_copy_that_breaks(self):
        self.arriving(pace=0)
        self.when_copying(lambda machine: machine.jobs.pop('vdb'))
        self.assertIsInstance(self.undone().__cause__, exception.JobFailed)

    def test_a_guest_that_cannot_be_given_back(self):
        self.arriving(on_start=failing_copy)
        self.b.on_migrate = failing('no way back')
        error = self.stuck()
        self.assertIn('no way back', str(error))
        self.assertIn(samples.UUID, self.b.machines)
        # the guest still reads from its exports
        self.assert_all_served()
        self.assertIsNotNone(self.record('b'))

    def test_a_way_back_that_is_found_later(self):
        self.arriving(on_start=failing_copy)
        self.b.on_migrate = failing(times=2)
        self.undone()
        self.assertEqual(3, len(self.b.migrations))

    def test_an_export_that_ends_is_started_again(self):
        """It has paused the guest, and broken the copies."""

        def lose(machine):
            self.exporter.served.popitem()
            machine.jobs.clear()
            machine.condition = IO_ERROR
            machine.pace = fakes.TOTAL

        def on_resume(machine):
            machine.condition = (libvirt.VIR_DOMAIN_RUNNING, 1)

        self.arriving(pace=0)
        self.b.on_resume = on_resume
        self.when_copying(lose)
        self.migration().run()
        self.assert_arrived()
        self.assertEqual(1, len(self.exporter.revived))
        self.assertEqual([('source', 'copy')], self.retried())
        self.assertIn('an export has ended', self.log.output)
        machine = self.b.machines[samples.UUID]
        self.assertEqual((libvirt.VIR_DOMAIN_RUNNING, 1), machine.condition)

    def test_an_export_that_ends_each_time(self):
        def on_start(disk):
            self.exporter.served.clear()
            failing_copy(disk)

        self.arriving(on_start=on_start)
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.DriverError)
        self.assertEqual(5, self.asked.count('copy'))
        self.assertEqual(4 * [('source', 'copy')], self.retried())

    def test_dead_exports_are_revived_for_the_way_back(self):
        before: dict[str, model.Image] = {}

        def lose(_machine):
            before.update(self.exporter.served)
            self.exporter.served.clear()
            self.running.abort()

        self.make_layered('vdb')
        self.arriving(pace=0)
        self.when_copying(lose)
        self.refused(
            exception.MigrationUndone,
            self.migration(bases=self.whole('vdb')).run,
        )
        self.assert_content('a')
        # each with what it had served
        self.assertEqual(
            before,
            {export.name: image for export, image in self.exporter.revived},
        )
        self.assertEqual(
            self.revived, [export.disk for export, _ in self.exporter.revived]
        )

    def test_a_copy_of_layers_that_are_others_is_not_started(self):
        def settle(machine):
            machine.xml = domxml.text(without_store(machine.xml, 'vdb'))
            return machine

        self.make_layered('vdb')
        before = pathlib.Path(self.path('b', 'vdb')).read_bytes()
        self.b.settle = settle
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.JobFailed)
        self.assertIn('vdb', str(error))
        self.assertEqual(
            ['vda'], [disk for disk, *_more in self.b.block_copies]
        )
        if self.mode is model.Mode.DIRECT:
            after = pathlib.Path(self.path('b', 'vdb')).read_bytes()
            self.assertEqual(before, after)

    def test_a_guest_that_an_error_stopped_is_woken(self):
        woken = []

        def on_resume(machine):
            woken.append(machine)
            # the first try meets the error again
            if len(woken) > 1:
                machine.condition = (libvirt.VIR_DOMAIN_RUNNING, 1)

        self.arriving(on_start=failing_copy, condition=IO_ERROR)
        self.b.on_resume = on_resume
        self.undone()
        self.assertEqual(2, len(woken))

    def test_a_destination_that_forgot_its_task(self):
        self.arriving(pace=0)
        arrived = []

        def restart(machine):
            arrived.append(machine)
            self.restart_destination()

        self.when_copying(restart)
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.PeerError)
        self.assertIn('restarted', str(error))
        self.assertEqual({}, arrived[0].jobs)


class TestPivot(world.WorldTestCase):
    def test_a_pivot_that_no_disk_has_passed(self):
        self.arriving(lost={'vda'})
        self.assertIsInstance(self.undone().__cause__, exception.JobFailed)

    def test_a_disk_that_failed_follows_the_one_that_did_not(self):
        def on_pivot(disk):
            machine = self.b.machines[samples.UUID]
            tried = [name for name, _base in machine.started]
            machine.lost = {'vdb'} if tried.count('vdb') == 1 else set()

        self.arriving(on_pivot=on_pivot)
        self.migration().run()
        self.assert_arrived()

    def test_exports_that_die_in_the_pivot_are_revived(self):
        """A disk has pivoted, so the others have to follow."""

        died: list[str] = []

        def on_pivot(disk):
            machine = self.b.machines[samples.UUID]
            machine.lost = set()
            if disk == 'vdb' and not died:
                died.append(disk)
                self.exporter.served.clear()
                machine.lost = {'vdb'}

        def on_start(disk):
            if died and not self.exporter.served:
                failing_copy(disk)

        self.arriving(on_pivot=on_pivot, on_start=on_start)
        self.migration().run()
        self.assertIn('revive vdb', self.exporter.log)
        self.assertIn(('source', 'pivot'), self.retried())
        self.assert_arrived()

    def test_a_guest_between_two_hosts_stays_there(self):
        self.useFixture(fixtures.MonkeyPatch(f'{steps.__name__}._PAUSE', 0.01))
        self.arriving(lost={'vdb'})
        error = self.stuck()
        self.assertIn(
            'the guest uses the base for disk vda already', str(error)
        )
        self.assertIn('pivoting', str(error))
        # nothing that any disk may still need is given up
        self.assert_all_served()
        self.assertEqual(('vda',), self.record('b').pivoted)
        self.assertIn(samples.UUID, self.b.machines)


class TestRelease(world.WorldTestCase):
    def test_a_release_that_fails_is_not_taken_back(self):
        def on_stop():
            if self.running.progress.state == 'releasing':
                raise exception.ExportError(path='x', reason='it stays')

        self.exporter.on_stop = on_stop
        error = self.stuck()
        self.assertIn('it stays', str(error))
        self.assertIn('runs on its destination', str(error))
        self.assertEqual(model.Role.DESTINATION, self.record('a').authority)
        self.assertEqual(model.Role.DESTINATION, self.record('b').authority)
        self.assertNotIn('give_back', self.asked)
        self.assertEqual([samples.UUID], list(self.b.machines))


class TestSwitchoverSeeded(world.Seeded, TestSwitchover):
    pass


class TestExportSeeded(world.Seeded, ExportTestCase):
    def both(self, number=0):
        """The last delta, and what was frozen below it."""

        def delta(disk, which):
            return f'deltas/ID-{disk}.{which}.qcow2'

        return {
            disk: [
                (delta(disk, number), False, True),
                (delta(disk, number - 1) if number else disk, True, False),
            ]
            for disk in self.disks
        }

    def test_the_delta_is_and_what_was_frozen_below_it(self):
        self.make_layered('vdb')
        self.assertEqual(self.both(), self.exported())

    def test_what_moves_as_a_whole_is_served_in_the_same_way(self):
        self.make_layered('vdb')
        self.assertEqual(self.both(), self.exported(bases=self.whole('vdb')))

    def test_after_more_rounds_it_is_the_last_two(self):
        self.options = {'max_remote_window': 0, 'seed_rounds': 2}
        self.write(self.machine, 'vda', 0, 'm', 900_000)
        self.assertEqual(self.both(1), self.exported())

    def test_what_was_started_is_stopped(self):
        def on_start(_disk):
            # two seeds, and the top layer of the first disk
            if len(self.exporter.started) == 3:
                raise exception.ExportError(path='x', reason='it broke')

        self.exporter.on_start = on_start
        self.assertIn('it broke', str(self.undone()))
        self.assertEqual([], self.a.migrations)


class TestCopySeeded(world.Seeded, TestCopy):
    revived: ClassVar[list[str]] = ['vda', 'vda', 'vdb', 'vdb']
    back: ClassVar[list[str]] = ['abort', 'give_back', 'abort', 'discard']


class TestPivotSeeded(world.Seeded, TestPivot):
    pass


class TestReleaseSeeded(world.Seeded, TestRelease):
    pass
