# SPDX-License-Identifier: Apache-2.0
"""Other programs act on the guest, with libvirt's own tools."""

import contextlib

import ddt
import libvirt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.migration.source import migration as engine
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.functional import base

_OPTIONS = {'mode': 'seeded', 'block_migration_bandwidth': 64}


class DisturbedTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.acted: list[str] = []
        self.moving: engine.Migration

    def virsh(self, *argv, at=None, check=True):
        host = at or self.lab.a
        return host.run('virsh', *argv, check=check)

    def state(self, made, host):
        """libvirt's state of the guest, which must be on the host."""
        connection = host.connect()
        try:
            return connection.lookupByUUIDString(made.guest.uuid).state()[0]
        finally:
            connection.close()

    def when(self, made, state, act):
        """A migration in which something is done once, in a state."""

        def listen(now):
            if now.state == state and not self.acted:
                self.acted.append(state)
                act()

        return made.migration(listen)

    def disturbed(self, made, state, act, *words):
        """The migration is undone, and the reason names the change."""
        error = self.assertRaises(
            exception.MigrationUndone, made.run, self.when(made, state, act)
        )
        self.assertEqual([state], self.acted)
        self.assertIsInstance(error.__cause__, exception.Disturbed)
        for word in words:
            self.assertIn(word, str(error))

    def merge(self, made, target):
        """Merge what another program has put on top, as it would."""
        self.virsh(
            *('blockcommit', made.guest.uuid, target),
            *('--active', '--pivot', '--wait'),
        )


@ddt.ddt
class TestSnapshot(DisturbedTestCase):
    @ddt.data('seeding', 'exporting', 'switching')
    def test_an_external_one(self, state):
        made = self.set_scene('block', 'layered', **_OPTIONS)
        path = self.lab.a.images / 'foreign.qcow2'

        def act():
            self.virsh(
                *('snapshot-create-as', made.guest.uuid, 'backup'),
                *('--disk-only', '--no-metadata', '--atomic'),
                *('--diskspec', f'vda,snapshot=external,file={path}'),
                *('--diskspec', 'vdb,snapshot=no'),
            )

        self.disturbed(made, state, act, 'vda', str(path))
        self.merge(made, 'vda')
        self.lab.a.run('rm', str(path))
        self.assert_intact(made, self.lab.a)

    def test_one_that_libvirt_has_a_record_of(self):
        made = self.set_scene('layered', **_OPTIONS)
        uuid = made.guest.uuid
        self.virsh(
            *('snapshot-create-as', uuid, 'nightly', '--disk-only'),
            *('--diskspec', 'vda,snapshot=external'),
        )
        error = self.assertRaises(
            exception.GuestBusy, made.run, made.migration()
        )
        self.assertIn('nightly', str(error))
        self.virsh('snapshot-delete', uuid, 'nightly', '--metadata')


@ddt.ddt
class TestDisk(DisturbedTestCase):
    @ddt.data('seeding', 'switching')
    def test_one_is_attached(self, state):
        made = self.set_scene('block', acpi=True, **_OPTIONS)
        path = self.lab.a.images / 'plugged.img'
        self.lab.a.run('truncate', '-s', '16M', str(path))

        def act():
            self.virsh(
                *('attach-disk', made.guest.uuid, str(path), 'vdx'),
                *('--live', '--config', '--cache', 'none'),
            )

        self.disturbed(made, state, act, 'vdx', 'no base was given')
        self.virsh('detach-disk', made.guest.uuid, 'vdx', '--config')
        self.lab.a.run('rm', str(path))
        self.assert_intact(made, self.lab.a)

    def test_one_is_attached_on_the_destination(self):
        """The guest cannot return with a disk that its source lacks."""
        made = self.set_scene('block', acpi=True, mode='direct')
        path = self.lab.b.images / 'plugged.img'
        self.lab.b.run('truncate', '-s', '16M', str(path))

        def act():
            self.virsh(
                *('attach-disk', made.guest.uuid, str(path), 'vdx'),
                *('--live', '--cache', 'none'),
                at=self.lab.b,
            )
            moving.abort()

        moving = self.when(made, states.State.READY, act)
        error = self.assertRaises(exception.MigrationStuck, made.run, moving)
        self.assertIn('virsh detach-disk', str(error))
        self.virsh(
            *('detach-disk', made.guest.uuid, 'vdx', '--live'), at=self.lab.b
        )
        self.assertTrue(waiting.until(lambda: self.is_home(made), timeout=60))
        self.lab.b.run('rm', str(path))
        self.assert_intact(made, self.lab.a)

    def is_home(self, made):
        """Settle, which fails while the guest still has the disk."""
        with contextlib.suppress(exception.Disturbed):
            return made.settle() is model.Role.SOURCE
        return False

    def test_an_image_grows_beyond_its_export(self):
        """The destination would read zeroes in place of its last data."""
        made = self.set_scene('qcow2', mode='direct')
        path = made.sources['vda'].path

        def act():
            self.lab.a.run('truncate', '--size', '+1M', path)

        moving = self.when(made, states.State.SWITCHING, act)
        error = self.assertRaises(exception.MigrationUndone, made.run, moving)
        self.assertIn(f'{path} failed: the file has grown', str(error))
        self.assert_intact(made, self.lab.a)

    def test_limits_travel_with_their_newest_values(self):
        made = self.set_scene('block', **_OPTIONS)

        def act():
            self.virsh(
                *('blkdeviotune', made.guest.uuid, 'vda'),
                *('--total-iops-sec', '4321', '--live', '--config'),
            )

        made.run(self.when(made, 'exporting', act))
        for more in ((), ('--inactive',)):
            xml = self.virsh(
                'dumpxml', made.guest.uuid, *more, at=self.lab.b
            ).stdout
            self.assertIn('<total_iops_sec>4321<', xml)
        self.assert_intact(made, self.lab.b)

    def test_a_resized_one(self):
        made = self.set_scene('layered', **_OPTIONS)

        def act():
            self.virsh('blockresize', made.guest.uuid, 'vda', '80M')

        self.disturbed(made, 'exporting', act, 'vda', 'resized')
        self.assertEqual('a', made.guest.runs_on())
        self.assert_no_litter(made, self.lab.a)


class TestMovedDisk(DisturbedTestCase):
    def test_a_disk_that_moves_is_detached(self):
        made = self.set_scene('block', 'layered', **_OPTIONS, acpi=True)
        uuid = made.guest.uuid
        self.disturbed(
            made,
            'seeding',
            lambda: self.virsh('detach-disk', uuid, 'vdb', '--live'),
            'vdb',
        )
        self.assertEqual('a', made.guest.runs_on())
        self.assert_no_litter(made, self.lab.a)
        # the guest had written to it until then
        for verdict in made.verdicts(self.lab.a):
            self.assertTrue(verdict.intact, verdict)

    def test_a_shareable_file_beside_it_in_direct_mode(self):
        """libvirt calls that unsafe, because of the cache mode."""
        made = self.set_scene('block', mode='direct', acpi=True)
        path = self.lab.a.images / 'shared.img'
        for at in self.lab.hosts:
            at.run('truncate', '--size', '4M', str(path))
        self.virsh(
            *('attach-disk', made.guest.uuid, str(path), 'vdh', '--live'),
            *('--config', '--targetbus', 'virtio', '--subdriver', 'raw'),
            *('--sourcetype', 'file', '--mode', 'shareable'),
        )
        made.run(made.migration())
        self.assert_intact(made, self.lab.b)


@ddt.ddt
class TestCrash(DisturbedTestCase):
    """libvirt keeps the QEMU of a guest that has crashed."""

    @ddt.data('seeding', 'exporting')
    def test_its_deltas_are_merged_by_libvirt(self, state):
        made = self.set_scene('block', 'layered', **_OPTIONS, acpi=True)

        def act():
            made.guest.crash(self.lab.a)
            self.assertTrue(
                waiting.until(lambda: self.has_crashed(made), timeout=30)
            )

        moving = self.when(made, state, act)
        error = self.assertRaises(exception.MigrationUndone, made.run, moving)
        self.assertTrue(self.has_crashed(made))
        self.assert_no_litter(made, self.lab.a)
        for verdict in made.verdicts(self.lab.a):
            self.assertTrue(verdict.intact, verdict)
        for command in ('reset', 'resume'):
            self.assertIn(f'virsh {command} {made.guest.name}', str(error))
            self.virsh(command, made.guest.uuid)
        self.assertEqual('a', made.guest.runs_on())

    def has_crashed(self, made):
        return self.state(made, self.lab.a) == libvirt.VIR_DOMAIN_CRASHED


class TestJob(DisturbedTestCase):
    def test_a_block_pull_comes_first(self):
        made = self.set_scene('layered', **_OPTIONS)
        self.virsh(
            *('blockpull', made.guest.uuid, 'vda', '--bandwidth', '1'),
        )
        error = self.assertRaises(
            exception.GuestBusy, made.run, made.migration()
        )
        self.assertIn('vda has a block pull', str(error))
        self.virsh('blockjob', made.guest.uuid, 'vda', '--abort')
        self.assert_intact(made, self.lab.a)

    def test_a_block_pull_on_a_delta_leaves_the_guest_alone(self):
        """QEMU before 8.2 crashes on a delta with extended L2 entries."""
        made = self.set_scene(
            'layered', **_OPTIONS, data=8 * base.MIB, chaos=0.005, reader=0.002
        )
        pull = ('blockpull', made.guest.uuid, 'vda', '--bandwidth', '2')

        def act():
            self.virsh(*pull)
            self.wait_for_chaos(made)
            self.wait_for_chaos(made)

        moving = self.when(made, 'seeding', act)
        self.assertRaises(exception.BlockCopyError, made.run, moving)
        self.virsh(
            *('blockjob', made.guest.uuid, 'vda', '--abort'), check=False
        )
        self.assertEqual([], made.guest.crashes())
        made.settle()
        self.assertEqual('a', made.guest.runs_on())
        for verdict in made.verdicts(self.lab.a):
            self.assertTrue(verdict.intact, verdict)

    def test_a_dump_during_the_switchover(self):
        """libvirt keeps it waiting; the undo leaves it alone."""
        made = self.set_scene('block', **_OPTIONS)
        path = self.lab.a.images / 'dump'
        dumps = []

        def act():
            dumps.append(
                self.lab.a.submit(
                    self.virsh,
                    *('dump', '--memory-only', made.guest.uuid, str(path)),
                    check=False,
                )
            )
            self.moving.abort()

        self.moving = self.when(made, 'switching', act)
        self.assertRaises(exception.MigrationUndone, made.run, self.moving)
        dumps[0].result()
        self.lab.a.run('rm', '-f', str(path))
        self.assert_intact(made, self.lab.a)


@ddt.ddt
class TestPause(DisturbedTestCase):
    def paused_on(self, made, host):
        return self.state(made, host) == libvirt.VIR_DOMAIN_PAUSED

    @ddt.data(*(mode.value for mode in model.Mode))
    def test_a_paused_guest_arrives_paused(self, mode):
        made = self.set_scene('block', 'layered', mode=mode)
        made.guest.pause(self.lab.a)
        made.run(made.migration())
        self.assertTrue(self.paused_on(made, self.lab.b))
        made.guest.resume(self.lab.b)
        self.assert_intact(made, self.lab.b)

    @ddt.data('seeding', 'copying')
    def test_an_owner_pauses_it_on_the_way(self, state):
        made = self.set_scene('block', 'layered', **_OPTIONS)
        at = self.lab.b if state == 'copying' else self.lab.a
        made.run(self.when(made, state, lambda: made.guest.pause(at)))
        self.assertTrue(self.paused_on(made, self.lab.b))
        made.guest.resume(self.lab.b)
        self.assert_intact(made, self.lab.b)

    def test_an_owner_pauses_it_and_it_is_undone(self):
        made = self.set_scene('block', 'layered', **_OPTIONS)

        def act():
            made.guest.pause(self.lab.a)
            self.moving.abort()

        self.moving = self.when(made, 'exporting', act)
        self.assertRaises(exception.MigrationUndone, made.run, self.moving)
        self.assertTrue(self.paused_on(made, self.lab.a))
        made.guest.resume(self.lab.a)
        self.assert_intact(made, self.lab.a)
