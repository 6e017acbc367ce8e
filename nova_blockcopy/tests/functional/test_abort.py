# SPDX-License-Identifier: Apache-2.0
"""A migration is ended early, by an operator or by a failure.

Each time the guest goes on at home, has every record, and can be moved by
the next attempt.
"""

import signal

import psutil

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.tests.functional import base


class TestAbort(base.ModeTestCase):
    def _abort_in(self, state, *kinds):
        made = self.set_scene(*kinds, block_migration_bandwidth=24)

        def listen(now):
            if now.state is state and (now.disks or state != 'copying'):
                self.assertTrue(moving.abort())

        moving = made.migration(listen)
        undone = self.assertRaises(exception.MigrationUndone, made.run, moving)
        self.assertIsInstance(undone.__cause__, exception.Aborted)
        self.assertEqual(states.State.ENDED, moving.progress.state)
        return made

    def test_before_the_switchover(self):
        made = self._abort_in(states.State.EXPORTING, 'block', 'layered')
        self.assert_intact(made, self.lab.a)

    def test_during_the_switchover(self):
        made = self._abort_in(states.State.SWITCHING, 'block', 'layered')
        self.assert_intact(made, self.lab.a)

    def test_during_the_copy(self):
        made = self._abort_in(states.State.COPYING, 'block', 'layered', 'raw')
        self.assert_intact(made, self.lab.a)

    def test_when_ready_then_again(self):
        made = self._abort_in(states.State.READY, 'block', 'layered')
        for target in made.guest.targets:
            made.guest.log.wait_for_more(target, 5)
        made.run(made.migration())
        self.assert_intact(made, self.lab.b)

    def test_a_guest_that_its_owner_has_paused(self):
        """QEMU crashes if a guest that arrived paused moves again."""
        made = self.set_scene('block', 'layered')
        made.guest.pause(self.lab.a)

        def listen(now):
            if now.state is states.State.READY:
                self.assertTrue(moving.abort())

        moving = made.migration(listen)
        self.assertRaises(exception.MigrationUndone, made.run, moving)
        state = self.lab.a.run('virsh', 'domstate', made.guest.uuid).stdout
        self.assertEqual('paused', state.strip())
        made.guest.resume(self.lab.a)
        self.assert_intact(made, self.lab.a)

    def test_too_late(self):
        made = self.set_scene('block')
        answers = []

        def late(now):
            if now.state is states.State.PIVOTING:
                answers.append(moving.abort())

        moving = made.migration(late)
        made.run(moving)
        self.assertEqual({False}, set(answers))
        self.assert_intact(made, self.lab.b)


class TestFailure(base.ModeTestCase):
    def test_a_full_destination(self):
        """The bases are as large as the disks, but there is no room."""
        made = self.set_scene('raw', size=64 * base.MIB, data=48 * base.MIB)
        small = self._small_file_system()
        path = f'{small}/base.img'
        self.lab.b.run('truncate', '-s', str(64 * base.MIB), path)
        moving = made.migration(bases={'vda': model.BaseRequest(path=path)})
        undone = self.assertRaises(exception.MigrationUndone, made.run, moving)
        self.assertIsInstance(
            undone.__cause__, (exception.JobFailed, exception.SeedFailed)
        )
        self.assertIn('vda', str(undone))
        self.assert_intact(made, self.lab.a)

    def test_an_exporter_dies_during_the_copy(self):
        made = self.set_scene(
            'block', data=48 * base.MIB, block_migration_bandwidth=8
        )
        killed: list[psutil.Process] = []

        def kill(now):
            if (
                now.state is states.State.COPYING
                and now.disks
                and (not killed)
            ):
                killed.extend(self._exporters())
                for process in killed:
                    process.send_signal(signal.SIGKILL)

        made.run(made.migration(kill))
        # in seeded mode one serves the delta, and one all that lies below
        self.assertEqual({'direct': 1, 'seeded': 2}[self.mode], len(killed))
        self.assert_intact(made, self.lab.b)

    def _exporters(self):
        return [p for p in self.lab.a.processes() if p.name() == 'qemu-nbd']

    def _small_file_system(self):
        there = self.lab.b
        image, point = there.images / 'small', there.images / 'mounted'
        there.run('truncate', '-s', f'{32 * base.MIB}', str(image))
        there.run('mkfs.ext4', '-q', '-m', '0', str(image))
        there.run('mkdir', str(point))
        there.run('mount', '-o', 'loop', str(image), str(point))
        self.addCleanup(there.run, 'rmdir', str(point))
        self.addCleanup(there.run, 'umount', '--lazy', str(point))
        return point
