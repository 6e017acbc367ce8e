# SPDX-License-Identifier: Apache-2.0
"""Other programs act on the guest while the engine moves it."""

import dataclasses
import os
import threading

import ddt
import fixtures
import libvirt

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import deltas
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import images
from nova_blockcopy.host import space
from nova_blockcopy.host import switchover
from nova_blockcopy.migration.source import lookout
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.migration import world

Power = hypervisor.Power
PAUSED = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER)


class DisturbedTestCase(world.Seeded, world.WorldTestCase):
    def disturbed(self, *words):
        """Run a migration that is undone because of another program."""
        error = self.refused(exception.MigrationUndone, self.migration().run)
        self.assertIsInstance(error.__cause__, exception.Disturbed)
        for word in ('Another program', 'host-a', *words):
            self.assertIn(word, str(error))
        self.assertEqual({}, self.b.machines)
        self.assertEqual([samples.UUID], list(self.a.machines))
        self.assert_no_litter()
        return error

    def foreign_snapshot(self):
        """Put an image on top of vda, and have the guest write to it."""
        path = str(self.directory / 'a' / 'foreign')
        top = model.overlay(path, self.machine.source('vda'))
        deltas.create(top, world.SIZE, 30)
        self.machine.use({'vda': top})
        self.write(self.machine, 'vda', 131072, 'f')

    def assert_on_foreign(self):
        """The guest uses the foreign image, on top of its own disk."""
        own = samples.image(self.path('a', 'vda'), samples.FILE)
        path = str(self.directory / 'a' / 'foreign')
        expected = model.overlay(path, own)
        if not self.machine.off:
            self.assertEqual(expected, self.machine.source('vda'))
        header = images.info(path)['full-backing-filename']
        self.assertEqual(own.path, header)
        defined = domxml.disks(self.machine.definition or '')
        self.assertEqual(path, defined['vda'].path)
        # merge it, as the backup tool will, to see all that was written
        deltas.commit(expected, own, 30)
        self.assert_content('a')


@ddt.ddt
class TestSnapshots(DisturbedTestCase):
    @ddt.data('seeding', 'exporting', 'switching')
    def test_a_foreign_snapshot(self, state):
        self.when(state, self.foreign_snapshot)
        self.disturbed('vda', 'foreign', 'backup tool')
        self.assertEqual([], self.a.migrations)
        self.assert_on_foreign()

    def test_one_in_direct_mode(self):
        self.mode = model.Mode.DIRECT
        self.when('switching', self.foreign_snapshot)
        self.disturbed('vda', 'foreign')
        self.assert_on_foreign()

    def test_one_right_before_libvirts_job(self):
        """Nobody can look and act at the same time, so it is looked twice."""

        def on_migrate(_machine):
            # libvirt allows none after its job has begun
            self.a.job = libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN
            self.foreign_snapshot()
            self.a.job = libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
            aborted.wait(30)
            raise fakes.libvirt_error(message='aborted')

        aborted = threading.Event()
        self.a.on_abort_job = aborted.set
        self.a.on_migrate = on_migrate
        self.disturbed('vda', 'foreign')
        self.assert_on_foreign()

    def test_one_on_the_destination(self):
        """Only a person can say what becomes of its data."""
        path = str(self.directory / 'b' / 'foreign')

        def act():
            machine = self.b.machines[samples.UUID]
            root = domxml.parse(machine.xml)
            disk = domxml.by_target(root)['vda']
            below = domxml.parse(domxml.text(disk))
            for name in ('source', 'backingStore'):
                for child in disk.findall(name):
                    disk.remove(child)
            disk.set('type', 'file')
            for child in domxml.parse(
                f'<d><source file="{path}"/><backingStore type="network">'
                f'<format type="qcow2"/></backingStore></d>'
            ):
                disk.append(child)
            store = disk.find('backingStore')
            assert store is not None
            store.extend(
                child
                for child in below
                if child.tag in ('source', 'backingStore')
            )
            machine.xml = domxml.text(root)

        self.when('copying', act)
        error = self.stuck()
        for word in (path, 'blockcommit', 'host-b'):
            self.assertIn(word, str(error))
        self.assertNotIn('uses the base', str(error))

    def test_the_guest_is_off_when_it_is_undone(self):
        def act():
            self.foreign_snapshot()
            self.machine.power_off()

        self.when('exporting', act)
        self.refused(exception.GuestEnded, self.migration().run)
        self.assert_no_litter()
        self.assert_on_foreign()

    @ddt.data('snapshots', 'checkpoints')
    def test_a_record_of_libvirt(self, kind):
        getattr(self.machine, kind).append('nightly')
        error = self.refused(exception.GuestBusy, self.migration().run)
        self.assertIn(f'the {kind[:-1]} nightly', str(error))
        self.assertEqual([], self.asked)
        getattr(self.machine, kind).clear()
        self.when('exporting', lambda: getattr(self.machine, kind).append('x'))
        self.disturbed(f'the {kind[:-1]} x')
        self.assert_untouched()

    def test_a_job_of_the_guest(self):
        self.a.job = libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP
        error = self.refused(exception.GuestBusy, self.migration().run)
        self.assertIn('it has a job', str(error))
        self.assertEqual([], self.asked)


@ddt.ddt
class TestDisks(DisturbedTestCase):
    def change(self, old, new):
        """Change the running guest and its definition."""
        for name in ('xml', 'definition'):
            text = getattr(self.machine, name)
            self.assertIn(old, text)
            setattr(self.machine, name, text.replace(old, new))

    def attach(self, xml):
        self.change('<console', f'{xml}<console')

    @ddt.data('seeding', 'exporting', 'switching')
    def test_a_disk_that_is_attached(self, state):
        """The destination may have another file by that path."""
        path = self.directory / 'a' / 'vdz'
        path.write_bytes(b'\0' * 4096)
        self.when(
            state, lambda: self.attach(samples.file_xml('vdz', str(path)))
        )
        self.disturbed('vdz', 'no base was given')

    def test_a_medium_that_is_inserted(self):
        """Nobody knows whether the destination has it."""
        self.home_xml = self.home_xml.replace(
            '<console',
            f'{samples.disk_xml("sda", "", device="cdrom")}<console',
        )
        self.machine.xml = self.machine.definition = self.home_xml
        self.when(
            'exporting',
            lambda: self.change(
                '<target dev="sda"',
                '<source dev="/dev/cd"/><readonly/><target dev="sda"',
            ),
        )
        self.disturbed('sda', '/dev/cd')

    def test_a_network_disk_that_is_attached_goes_along(self):
        self.when('exporting', lambda: self.attach(samples.remote_xml('vdz')))
        self.migration().run()
        self.assertIn('vdz', domxml.disks(self.b.machines[samples.UUID].xml))
        self.assert_content('b')

    def detach(self):
        for name in ('xml', 'definition'):
            xml = getattr(self.machine, name)
            setattr(self.machine, name, without(xml, 'vdb'))

    @ddt.data('seeding', 'exporting', 'switching')
    def test_a_disk_that_is_detached(self, state):
        self.when(state, self.detach)
        self.disturbed('vdb', 'detached')
        self.assertEqual({'vda'}, set(domxml.disks(self.machine.xml)))
        self.assert_content('a')

    def test_a_disk_that_is_detached_on_the_destination(self):
        def act():
            machine = self.b.machines[samples.UUID]
            machine.xml = without(machine.xml, 'vdb')

        self.when('copying', act)
        error = self.refused(exception.MigrationUndone, self.migration().run)
        self.assertIn('vdb', str(error))
        machine = self.a.machines[samples.UUID]
        self.assertEqual({'vda'}, set(domxml.disks(machine.xml)))
        self.assert_content('a')
        self.assert_no_litter()

    def test_a_disk_that_is_resized(self):
        self.when(
            'exporting',
            lambda: self.machine.sizes.update(vda=2 * world.SIZE),
        )
        self.disturbed('vda', 'resized', str(2 * world.SIZE))
        self.assert_untouched()

    def test_a_delta_that_is_committed(self):
        own = samples.image(self.path('a', 'vda'), samples.FILE)

        def commit():
            deltas.commit(self.machine.source('vda'), own, 30)
            self.machine.use({'vda': own})

        self.when('exporting', commit)
        self.disturbed('vda', 'no longer has the layers of')
        self.assert_untouched()

    def test_a_setting_travels_with_its_newest_value(self):
        tuned = '<iotune><total_iops_sec>7</total_iops_sec></iotune>'
        self.when(
            'exporting',
            lambda: self.change(
                '<target dev="vda"', f'{tuned}<target dev="vda"'
            ),
        )
        self.migration().run()
        machine = self.b.machines[samples.UUID]
        for xml in (machine.xml, machine.definition or ''):
            self.assertIn('<total_iops_sec>7', xml)
        self.assert_arrived()

    def test_a_setting_survives_the_undo(self):
        tuned = '<iotune><total_iops_sec>7</total_iops_sec></iotune>'

        def act():
            self.change('<target dev="vda"', f'{tuned}<target dev="vda"')
            self.running.abort()

        self.when('exporting', act)
        self.undone()
        self.assertIn('<total_iops_sec>7', self.machine.definition or '')

    def test_layers_that_were_pulled_together(self):
        """Nobody removes the only images with the guest's data."""

        def act():
            source = self.machine.source('vda')
            os.rename(source.path, f'{source.path}.old')
            alone = dataclasses.replace(source, backing=None)
            self.machine.use({'vda': alone})

        self.when('exporting', act)
        error = self.stuck()
        self.assertIn('vda', str(error))
        self.assertIn('no longer', str(error))
        self.assertEqual('stuck', self.record('a').state)


@ddt.ddt
class TestJobs(DisturbedTestCase):
    PULL = libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL

    def test_a_block_job_comes_first(self):
        self.machine.foreign['vdb'] = self.PULL
        error = self.refused(exception.GuestBusy, self.migration().run)
        self.assertIn('disk vdb has a block pull', str(error))
        self.assertEqual([], self.asked)
        self.assert_untouched()

    def test_one_that_begins_later_is_not_taken_for_ours(self):
        self.options = {'call_timeout': 1}
        foreign = self.machine.foreign
        self.when('seeding', lambda: foreign.update(vdb=self.PULL))
        error = self.stuck()
        self.assertIn('block pull', str(error).lower())
        self.assertIn('another program', str(error).lower())
        # a stuck migration is not begun anew in direct mode
        self.assertEqual([], self.a.migrations)

    def test_a_dump_is_not_aborted(self):
        """It waits for the migration, and begins when that was aborted."""
        self.options = {'call_timeout': 1}

        def on_migrate(_machine):
            self.a.lingers = True
            self.a.job = libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP
            raise fakes.libvirt_error(message='it broke')

        aborted = []
        self.a.on_abort_job = lambda: aborted.append(True)
        self.a.on_migrate = on_migrate
        self.undone()
        self.assertEqual([], aborted)

    def test_a_dump_before_the_switchover(self):
        self.options = {'call_timeout': 1}

        def act():
            self.a.job = libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP

        self.when('exporting', act)
        self.disturbed('dump')
        self.assert_untouched()

    @ddt.data(True, False)
    def test_a_copy_of_another_program_on_the_destination(self, abort):
        def act(machine):
            machine.jobs['vda'].base = samples.image('/their/target')
            if abort:
                self.running.abort()

        self.when_copying(act)
        self.b.on_resume = lambda machine: None
        error = self.refused(exception.MigrationUndone, self.migration().run)
        if not abort:
            self.assertIsInstance(error.__cause__, exception.ForeignJob)
        self.assert_content('a')
        self.assert_no_litter()


@ddt.ddt
class TestPauses(DisturbedTestCase):
    scenes = ('seeding', 'exporting', 'switching')

    def pause(self):
        self.machine.condition = PAUSED

    def assert_paused(self, connection):
        machine = connection.machines[samples.UUID]
        self.assertEqual(PAUSED, machine.condition)

    @ddt.data(*model.Mode)
    def test_a_paused_guest_arrives_paused(self, mode):
        self.mode = mode
        self.pause()
        self.arriving(condition=PAUSED)
        self.migration().run()
        self.assert_paused(self.b)
        self.assert_arrived()

    def test_a_guest_that_is_paused_on_the_way(self):
        self.when(
            'copying',
            lambda: setattr(
                self.b.machines[samples.UUID], 'condition', PAUSED
            ),
        )
        self.migration().run()
        self.assert_paused(self.b)
        self.assert_arrived()

    def test_one_that_is_undone(self):
        def act():
            self.pause()
            self.running.abort()

        self.when('exporting', act)
        self.undone()
        self.assert_paused(self.a)

    def test_one_that_comes_back(self):
        self.arriving(condition=PAUSED, on_start=failing_copy)
        self.a.settle = lambda machine: paused(machine)
        self.undone()
        self.assert_paused(self.a)

    @ddt.data(
        (libvirt.VIR_DOMAIN_PMSUSPENDED, 0, 'suspended to RAM'),
        (libvirt.VIR_DOMAIN_CRASHED, 0, 'halted'),
    )
    @ddt.unpack
    def test_a_guest_that_cannot_move(self, state, reason, word):
        self.machine.condition = (state, reason)
        error = self.refused(exception.GuestNotRunning, self.migration().run)
        self.assertIn(word, str(error))
        self.assertEqual([], self.asked)

    @ddt.data(
        (libvirt.VIR_DOMAIN_PMSUSPENDED, 'suspended to RAM', 'dompmwakeup'),
        (libvirt.VIR_DOMAIN_CRASHED, 'has crashed', 'virsh reset'),
    )
    @ddt.unpack
    def test_a_guest_that_cannot_move_later(self, state, *words):
        self.when(
            'exporting',
            lambda: setattr(self.machine, 'condition', (state, 0)),
        )
        self.disturbed(*words)
        self.assert_untouched()

    @ddt.data('preparing', 'freezing')
    def test_a_guest_that_ends_is_not_moved_in_another_mode(self, state):
        self.when(state, self.machine.power_off)
        self.ended('host-a')
        self.assertEqual(1, self.asked.count('prepare'))

    def test_a_guest_that_crashed_has_its_disks_open(self):
        def act():
            self.machine.condition = (libvirt.VIR_DOMAIN_CRASHED, 0)
            self.running.abort()

        self.when('exporting', act)
        self.undone()
        # merged by libvirt, not by qemu-img
        self.assertEqual(
            ['vda', 'vdb'], [disk for disk, *_more in self.a.block_commits]
        )


class TestRoom(DisturbedTestCase):
    def setUp(self):
        super().setUp()
        self.real = space._look
        self.full = False
        self.useFixture(
            fixtures.MonkeyPatch(f'{space.__name__}._look', self.look)
        )

    def look(self, directory, paths):
        found = self.real(directory, paths)
        if self.full and '/a/' in directory:
            found['systems'][0]['free'] = 0
        return found

    def fill(self):
        self.full = True

    def test_while_memory_travels(self):
        def on_migrate(_machine):
            self.fill()
            self.cancelled.wait(10)
            raise fakes.libvirt_error(message='aborted')

        self.a.on_abort_job = self.cancelled.set
        self.a.on_migrate = on_migrate
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.NoRoom)

    def test_while_disks_are_copied(self):
        self.when('copying', self.fill)
        self.arriving(pace=0)
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.NoRoom)


class TestLookout(DisturbedTestCase):
    def test_the_watch_ends_with_the_switchover(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{lookout.__name__}._TICK', 0.001)
        )
        self.migration().run()
        self.assert_arrived()

    def test_a_cancel_that_qemu_overlooks(self):
        """QEMU has cancelled the migration, and does not end it."""
        released = threading.Event()

        def on_migrate(_machine):
            self.running.abort()
            released.wait(30)
            raise fakes.libvirt_error(message='aborted')

        for name, value in (
            (f'{lookout.__name__}._PATIENCE', 0),
            (f'{lookout.__name__}._ABORT_INTERVAL', 0.01),
            (
                f'{switchover.__name__}.release_cancelled',
                lambda _guest: released.set(),
            ),
        ):
            self.useFixture(fixtures.MonkeyPatch(name, value))
        self.a.on_migrate = on_migrate
        error = self.undone()
        self.assertTrue(released.is_set())
        self.assertIsInstance(error.__cause__, exception.Aborted)


def without(xml, target):
    """A domain without one of its disks."""
    root = domxml.parse(xml)
    disk = domxml.by_target(root)[target]
    parent = disk.getparent()
    assert parent is not None
    parent.remove(disk)
    return domxml.text(root)


def failing_copy(disk):
    raise exception.DriverError(action='start', disk=disk, reason='it broke')


def paused(machine):
    machine.condition = PAUSED
    return machine
