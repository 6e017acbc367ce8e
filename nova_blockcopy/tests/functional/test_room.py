# SPDX-License-Identifier: Apache-2.0
"""Guests that write much while they move leave room for each other."""

import contextlib
import threading

import libvirt

from nova_blockcopy import exception
from nova_blockcopy import states
from nova_blockcopy.tests.functional import base

State = states.State
_IO_ERROR = [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]
#: Of the file system with the disks and the deltas of host a.
_SIZE = 512 * base.MIB


class RoomTestCase(base.TestCase):
    def set_scene(self, *kinds, **options):
        return super().set_scene(
            *kinds,
            **{
                'mode': 'seeded',
                'size': 320 * base.MIB,
                'data': 16 * base.MIB,
                'region': 4 * base.MIB,
                'load_length': 160 * base.MIB,
                **options,
            },
        )

    def undone(self, error):
        self.assertIsInstance(error, exception.MigrationUndone)
        return error.__cause__


class TestTwoGuests(RoomTestCase):
    """Disks and deltas of host a are on one small file system."""

    def setUp(self):
        super().setUp()
        self.here = here = self.lab.a
        places = (str(here.images), str(here.home / 'deltas'))
        image = str(here.home / 'small')
        here.run('truncate', '-s', str(_SIZE), image)
        here.run('mkfs.ext4', '-q', '-m', '0', image)
        here.run('mkdir', '-p', *places)
        here.run('mount', '-o', 'loop', image, places[0])
        self.addCleanup(here.run, 'rm', image)
        self.addCleanup(here.run, 'umount', '--lazy', *places)
        here.run('rmdir', f'{places[0]}/lost+found')
        here.run('mkdir', f'{places[0]}/below')
        here.run('mount', '--bind', f'{places[0]}/below', places[1])
        for each in (here.images, here.home / 'deltas'):
            here.small[each] = _SIZE // base.MIB
            self.addCleanup(here.small.pop, each)

    def free(self):
        """The free MiB of the file system."""
        printed = self.here.run(
            *('df', '--output=avail', '-B', '1M', str(self.here.images))
        )
        return int(printed.stdout.split()[-1])

    def watch(self, ended):
        """Return the least free space until an event, and who stood still."""
        least, paused = self.free(), set()
        connection = self.here.connect()
        while not ended.wait(0.2):
            least = min(least, self.free())
            for domain in connection.listAllDomains():
                with contextlib.suppress(libvirt.libvirtError):
                    if domain.state() == _IO_ERROR:  # else it has just left
                        paused.add(domain.name())
        connection.close()
        return least, paused

    def test_the_larger_one_goes_back_before_it_is_full(self):
        neighbour = self.set_scene('raw', prefix='n-')
        slow = self.set_scene(
            'raw',
            prefix='s-',
            load=4 * base.MIB,
            load_length=16 * base.MIB,
            seed_rounds=2,
            block_migration_bandwidth=1,
        )
        fast = self.set_scene(
            'raw',
            prefix='f-',
            load=16 * base.MIB,
            block_migration_bandwidth=1,
        )
        ended = threading.Event()
        seen = self.here.submit(self.watch, ended)
        moving = [made.migration() for made in (slow, fast)]
        first, second = (self.here.submit(each.run) for each in moving)
        cause = self.undone(second.exception())
        self.assertIsInstance(cause, exception.NoRoom)
        self.assertIn('the 2 migrations there', str(cause))
        # it has not ended yet, and hurries now
        self.assertFalse(first.done())
        moving[0].set_bandwidth(0)
        first.result()
        ended.set()
        least, paused = seen.result()
        self.assertEqual(set(), paused)
        self.assertGreater(least, 0)
        for made, at in (
            (slow, self.lab.b),
            (fast, self.here),
            (neighbour, self.here),
        ):
            made.guest.log.wait_for_more('vda', 5)
            self.assertEqual(at.name, made.guest.runs_on())
            self.assertEqual([], made.guest.log.errors)
            for verdict in made.verdicts(at):
                self.assertTrue(verdict.intact, verdict)


class TestLimit(RoomTestCase):
    """The deltas of a guest are about to become too large."""

    def _moving(self, **options):
        made = self.set_scene('raw', load=8 * base.MIB, **options)
        largest: dict[states.State, int] = {}

        def listen(now):
            size = sum(
                path.stat().st_blocks * 512
                for path in (self.lab.a.outside(self.lab.a.home)).glob(
                    'deltas/*.qcow2'
                )
            )
            largest[now.state] = max(largest.get(now.state, 0), size)
            if now.state is State.EXPORTING:
                moving.set_bandwidth(1)

        moving = made.migration(listen)
        return made, moving, largest

    def _taken_back(self, made, moving, largest, state, limit):
        error = self.assertRaises(exception.MigrationUndone, made.run, moving)
        cause = self.undone(error)
        self.assertIsInstance(cause, exception.DeltasTooLarge)
        self.assertIn(f'delta_max_size allows {limit} MiB', str(cause))
        order = [each for each in largest if each in states.REVERSIBLE]
        self.assertIs(state, order[-1])
        self.assertLess(largest[state], limit * base.MIB)
        self.assert_intact(made, self.lab.a)

    def test_while_it_is_seeded(self):
        made, moving, largest = self._moving(
            block_migration_bandwidth=1, delta_max_size=64
        )
        self._taken_back(made, moving, largest, State.SEEDING, 64)

    def test_while_it_runs_on_its_destination(self):
        made, moving, largest = self._moving(delta_max_size=112)
        self._taken_back(made, moving, largest, State.COPYING, 112)
