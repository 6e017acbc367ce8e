# SPDX-License-Identifier: Apache-2.0
"""A migration that does not end as it was meant to, and the next one."""

import contextlib
import os
import typing
from collections.abc import Iterator

import psutil

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import hosts
from nova_blockcopy.tests.cloud import lvm
from nova_blockcopy.tests.cloud import user
from nova_blockcopy.tests.cloud.scenarios import ends

#: The engine's event in the action of a live migration.
OURS = 'compute_blockcopy_live_migration'
_INSTANCES = str(hosts.STATE / 'instances')
#: Bytes that a file system needs for itself to give a file all the others.
_METADATA = 1 << 20


class TestAbort(ends.EndsTestCase):
    def test_in_each_long_state_then_again(self):
        guest = self.boot()
        for state in dict.fromkeys(('switching', ends.LONG, 'copying')):
            guest.live_migrate(self.cloud.b)
            self.wait_for_state(guest, self.cloud.a, state)
            if state == ends.LONG:
                shown = self._progress(guest)
                self.assertGreater(shown['disk_total_bytes'], 0)
                self.assertGreater(shown['disk_remaining_bytes'], 0)
                self.assert_progress(guest)
            guest.abort()
            guest.wait_for_migration('cancelled')
            self.assert_told(guest, OURS, 'Rolled back', 'aborted on request')
            self.assertEqual(0, guest.facts()['progress'])
            self.assert_at_home(guest)
        self.move(guest, self.cloud.b)
        self.assertEqual('Success', guest.events()[OURS]['result'])

    def assert_progress(self, guest):
        """The per cent grows with the disks."""
        seen = waiting.until(
            lambda: 0 < guest.facts()['progress'] < 100, timeout=60
        )
        self.assertTrue(seen)

    def _progress(self, guest):
        """What the API shows, once it shows something of the disks."""
        found: dict[str, int] = {}

        def shown():
            number = guest.migrations()[0].id
            path = f'/servers/{guest.uuid}/migrations/{number}'
            found.update(self.cloud.api.compute('GET', path)['migration'])
            return bool(found['disk_total_bytes'])

        waiting.until(shown, timeout=30)
        return found


class TestRefused(ends.EndsTestCase):
    def test_a_base_that_exists_already(self):
        guest = self.boot()
        group = self.cloud.b.volumes.group
        name = f'{guest.uuid}_disk'
        self.run_lvm('lvcreate', '-L', '67108864b', '-n', name, group)
        self.addCleanup(
            self.run_lvm, 'lvremove', '-f', f'/dev/{group}/{name}', check=False
        )
        guest.live_migrate(self.cloud.b)
        self.assertEqual('error', guest.wait_for_migration().status)
        self.assert_told(
            *(guest, 'compute_check_can_live_migrate_destination'),
            *(name, 'already exists', 'Find out what it is, and remove it.'),
            host=self.cloud.b,
        )
        self.assert_intact(guest, self.cloud.a)
        self.assertEqual([name], self.cloud.b.volumes.names())
        self.run_lvm('lvremove', '-f', f'/dev/{group}/{name}')
        self.move(guest, self.cloud.b)


class TestNoSpace(ends.EndsTestCase):
    def test_a_group_that_is_full(self):
        """The root disk finds place, the ephemeral disk does not."""
        guest = self.boot()
        group = self.cloud.b.volumes.group
        size = lvm.SIZE - (3 << 29)
        self.run_lvm('lvcreate', '-L', f'{size}b', '-n', 'filler', group)
        self.addCleanup(
            self.run_lvm, 'lvremove', '-f', f'/dev/{group}/filler', check=False
        )
        guest.live_migrate(self.cloud.b)
        guest.wait_for_migration('failed', 'error')
        self.assert_told(
            *(guest, 'compute_pre_live_migration'),
            *('Insufficient Space', 'choose another host'),
            host=self.cloud.b,
        )
        self.run_lvm('lvremove', '-f', f'/dev/{group}/filler')
        self.assert_at_home(guest)
        self.move(guest, self.cloud.b)


class TestNoSpaceForFiles(ends.EndsTestCase):
    """It is found out when there is nothing left to write to."""

    images = 'raw'
    options: typing.ClassVar = {
        **ends.EndsTestCase.options,
        'libvirt': {
            **ends.EndsTestCase.options['libvirt'],
            'block_migration_bandwidth': 2,
        },
    }

    def test_during_the_copy(self):
        with self.filesystem():
            guest = self.moving(ends.LONG, load=4 << 20)
            with self.full():
                guest.wait_for_migration('failed')
            self.assert_at_home(guest)
            guest.live_migrate(self.cloud.b)
            self.wait_for_state(guest, self.cloud.a, ends.LONG)
            guest.delete()

    @contextlib.contextmanager
    def filesystem(self) -> Iterator[None]:
        """One of its own for the destination's instances."""
        run = self.cloud.b.host.run
        image = f'{self.cloud.b.host.home}/filesystem'
        run('truncate', '-s', '16G', image)
        make = ('mkfs.ext4', '-q', '-m', '0', '-O', '^has_journal')
        run(*make, '-N', '4096', image)
        run('mount', '-o', 'loop', image, _INSTANCES)
        run('rmdir', f'{_INSTANCES}/lost+found')
        run('chown', f'{user.NUMBER}:{user.NUMBER}', _INSTANCES)
        try:
            yield
        finally:
            run('umount', '-l', _INSTANCES)
            run('rm', image)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Nothing more can be written there."""
        filler = self.cloud.b.path('filler')
        found = os.statvfs(filler.parent)
        with filler.open('wb') as f:
            os.posix_fallocate(
                f.fileno(), 0, found.f_bavail * found.f_frsize - _METADATA
            )
        try:
            yield
        finally:
            filler.unlink()


class TestSwitchover(ends.EndsTestCase):
    def test_the_destinations_qemu_dies(self):
        guest = self.moving('switching')
        self.kill_incoming(guest)
        guest.wait_for_migration('failed')
        self.assert_told(guest, OURS, 'Rolled back: The switchover of guest')
        self.assert_at_home(guest)
        self.move(guest, self.cloud.b)

    def kill_incoming(self, guest):
        """End what waits for the guest's memory, as soon as it is there."""
        self.assertTrue(
            waiting.until(
                lambda: self._kill_incoming(guest), timeout=30, interval=0.005
            )
        )

    def _kill_incoming(self, guest):
        for process in self.cloud.b.host.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                if '-incoming' in words and guest.uuid in words:
                    process.kill()
                    return True
        return False


class TestRestart(ends.EndsTestCase):
    """nova-compute is killed in each state, and comes back."""

    def test_the_source(self):
        """Back, as long as nothing has pivoted."""
        guest = self.boot()
        for state in ends.STATES:
            here, there, victim = self.kill_in(guest, state, source=True)
            victim.restart()
            guest.wait_for_status('ACTIVE')
            before = ends.STATES.index(state) - ends.STATES.index('pivoting')
            if before < 0:
                self.assert_at_home(guest, here)
                self.assert_told(
                    *(guest, OURS, 'Rolled back: nova-compute on', state),
                    host=here,
                )
            elif before > 0:
                self.assert_at_home(guest, there)
            else:
                self.assert_at_home(guest, guest.at)

    def test_the_destination(self):
        """It may be back before it is asked for anything.

        QEMU goes on without it, and its orders wait in a queue.
        """
        guest = self.boot()
        for state in ends.STATES:
            _here, there, victim = self.kill_in(guest, state, source=False)
            victim.restart()
            guest.wait_for_migration()
            guest.wait_for_status('ACTIVE')
            if ends.STATES.index(state) >= ends.STATES.index('pivoting'):
                self.assert_at_home(guest, there)
            else:
                self.assert_at_home(guest, guest.at)

    def test_the_source_before_its_journal(self):
        """When Nova has made bases, and nothing here tells of them."""
        guest = self.boot()
        guest.live_migrate(self.cloud.b)
        note = self.cloud.b.state / 'blockcopy' / 'journal' / 'expected'
        waiting.until(
            (note / f'{guest.uuid}.json').exists, timeout=60, interval=0.002
        )
        self._freeze(self.cloud.a)
        self.assertIsNone(self.state(guest, self.cloud.a))
        self.cloud.a.kill()
        volumes = self.cloud.b.volumes
        self.assertTrue(
            waiting.until(lambda: bool(volumes.names()), timeout=60)
        )
        self.cloud.a.restart()
        guest.wait_for_migration('failed')
        self.assert_told(guest, OURS, 'ended before the disks began to move')
        self.assert_at_home(guest)
        self.move(guest, self.cloud.b)


class TestBothRestart(ends.EndsTestCase):
    def test_the_destination_comes_back_last(self):
        """The source cannot settle it alone, and needs nobody for it."""
        guest = self.moving('copying')
        for each in self.cloud.computes:
            each.kill()
        self.cloud.a.restart()
        self.assertEqual('migrating', guest.task)
        # the one thing that Nova's API lets a user do to it
        self.cloud.api.compute('DELETE', f'/servers/{guest.uuid}')
        guest.wait_for_status('ERROR')
        self.assertEqual([self.cloud.b.name], guest.runs_on())
        self.cloud.b.restart()
        guest.wait_for_status('ACTIVE')
        self.assert_at_home(guest)
