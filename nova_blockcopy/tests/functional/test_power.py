# SPDX-License-Identifier: Apache-2.0
"""The source loses power in the remote window, and starts again.

Its disks have a cache that is empty after that. All that the guest was
promised is on them, and the guest never goes on as if nothing had happened.
"""

import ddt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import engine
from nova_blockcopy.tests.lab import power
from nova_blockcopy.tests.lab import scene

_SLOW = 4
#: The first QEMU whose mirror may write synchronously (``mirror.limits``).
_SYNCHRONOUS = 8_000_000


class PowerTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.supply = power.Supply(self.lab.a, self.lab.directory)
        self.addCleanup(self.supply.restore)

    def moved(self, state, *kinds, **options):
        """A guest that has moved when both engines die in a state."""
        made = self.set_scene(*kinds, **options)
        with self.supply.volatile():
            self.assertTrue(engine.killed_in(made, state))
        for target in made.guest.targets:
            made.guest.log.wait_for_more(target, 20)
        return made

    def exporters(self):
        return [p for p in self.lab.a.processes() if p.name() == 'qemu-nbd']

    def left_paused(self, made):
        """Nothing is settled, and the guest cannot reach the old disks."""
        error = self.assertRaises(exception.SourceRebooted, made.settle)
        self.assertIn(f'nova-blockcopy abandon {made.guest.name}', str(error))
        self.assertIn('the copy there is not complete', str(error))
        self.assertEqual('', made.guest.runs_on())
        self.assertEqual([], self.exporters())

    def restarted(self, made):
        """An operator gives the memory up; the disks are at home."""
        self.lab.b.run('virsh', 'destroy', made.guest.uuid)
        self.assertEqual(model.Role.SOURCE, made.settle())
        self.assert_no_litter(made, self.lab.a)
        for verdict in made.verdicts(self.lab.a):
            self.assertTrue(verdict.intact, verdict)
        self.assertEqual([], made.changed(self.lab.a))
        self.lab.a.run('virsh', 'start', made.guest.uuid)


@ddt.ddt
class TestCopyIsNotComplete(PowerTestCase):
    """Each write is on the disks that the cache mode promises to be."""

    @ddt.data(
        ('direct', 'none', False),
        ('direct', 'directsync', True),
        ('seeded', 'writeback', False),
        ('seeded', 'writethrough', True),
    )
    @ddt.unpack
    def test_nothing_that_was_promised_is_lost(self, mode, cache, lazy):
        made = self.moved(
            states.State.COPYING,
            *('block', 'qcow2'),
            mode=mode,
            cache=cache,
            lazy=lazy,
            # a delta is copied too soon to be limited, and its disk is not
            block_migration_bandwidth=_SLOW if mode == 'direct' else 0,
        )
        self.supply.interrupt()
        self.left_paused(made)
        self.left_paused(made)
        self.restarted(made)

    def test_a_cache_that_nobody_flushes_loses_writes(self):
        """The test itself is able to see a loss."""
        made = self.moved(
            states.State.COPYING,
            *('raw',),
            mode='direct',
            lazy=True,
            block_migration_bandwidth=_SLOW,
        )
        self.assertLess(10, self.supply.interrupt())
        (verdict,) = made.verdicts(self.lab.a)
        self.assertFalse(verdict.intact)

    def test_a_guest_that_writes_dirties_a_copy_in_the_background(self):
        """Its last write fails on the source, and ends the copy."""
        made = self.moved(states.State.READY, 'block', mode='direct')
        self.supply.interrupt()
        self.left_paused(made)
        self.restarted(made)


@ddt.ddt
class TestCopyIsComplete(PowerTestCase):
    """The base has each write, so the base becomes the disk."""

    @ddt.data(*model.Mode)
    def test_a_quiet_guest(self, mode):
        made = self.moved(states.State.READY, 'block', 'layered', mode=mode)
        made.guest.hush(self.lab.b)
        # its last writes are copied in the background
        self.assertTrue(
            waiting.until(lambda: self._nothing_left(made), timeout=30)
        )
        self.supply.interrupt()
        self.assertEqual(model.Role.DESTINATION, made.settle())
        made.guest.let_go(self.lab.b)
        self.assert_intact(made, self.lab.b)

    def _nothing_left(self, made):
        connection = self.lab.b.connect()
        try:
            domain = connection.lookupByUUIDString(made.guest.uuid)
            jobs = [domain.blockJobInfo(disk) for disk in made.guest.targets]
        finally:
            connection.close()
        return all(job['cur'] == job['end'] for job in jobs)

    def test_a_guest_whose_writes_wait_for_the_base(self):
        versions = self.lab.b.call(scene.versions, self.lab.b)
        if versions.hypervisor < _SYNCHRONOUS:
            self.skipTest('QEMU has no synchronous writes that are safe')
        made = self.moved(
            states.State.READY,
            *('block', 'raw'),
            mode='direct',
            synchronous_writes=True,
        )
        self.supply.interrupt()
        self.assertEqual(model.Role.DESTINATION, made.settle())
        self.assert_intact(made, self.lab.b)
