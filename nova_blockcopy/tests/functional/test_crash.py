# SPDX-License-Identifier: Apache-2.0
"""The engine, or the guest, is killed; afterwards all is settled."""

import ddt
import psutil

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import engine

#: All states but the end, at which nothing is left to be killed.
_DIRECT = states.way(model.Mode.DIRECT)[:-1]
_SEEDED = states.way(model.Mode.SEEDED)[:-1]


@ddt.ddt
class TestEngineIsKilled(base.TestCase):
    def _killed(self, mode, state):
        made = self.set_scene(
            *('block', 'layered'), mode=mode, block_migration_bandwidth=64
        )
        self.assertTrue(engine.killed_in(made, states.State(state)))
        side = made.settle()
        at = self.lab.b if side is model.Role.DESTINATION else self.lab.a
        if at is self.lab.a:
            # as it was, so that it can be tried again at once
            made.run(made.migration())
        self.assert_intact(made, self.lab.b)

    @ddt.data(*_DIRECT)
    def test_in_direct_mode(self, state):
        self._killed('direct', state)

    @ddt.data(*_SEEDED)
    def test_in_seeded_mode(self, state):
        self._killed('seeded', state)


class ProcessTestCase(base.TestCase):
    """The engine goes on when something that it relies on dies."""

    def kill_in(self, mode, state, kill):
        """Migrate, and kill once when a state has begun.

        :param kill: kills, and returns what it has killed
        :returns: the scene, and the host that the guest is at home on
        """
        made = self.set_scene(
            *('block', 'layered'), mode=mode, block_migration_bandwidth=64
        )
        killed: list[psutil.Process] = []
        self.undone: exception.MigrationUndone | None = None

        def listen(now):
            if now.state == state and not killed:
                killed.extend(kill())

        try:
            made.run(made.migration(listen))
            at = self.lab.b
        except exception.MigrationUndone as e:
            self.undone = e
            at = self.lab.a
        self.assertNotEqual([], killed)
        return made, at


def _end(hosts, name):
    """Kill what runs by a name, and wait for its end."""
    found = [
        process
        for host in hosts
        for process in host.processes()
        if process.name().startswith(name)
    ]
    for process in found:
        process.kill()
    psutil.wait_procs(found, timeout=10)
    return found


@ddt.ddt
class TestGuestIsKilled(ProcessTestCase):
    """Its QEMU dies; all that it had acknowledged is on one host."""

    def _killed(self, mode, state):
        made, at = self.kill_in(
            mode, state, lambda: _end(self.lab.hosts, 'qemu-system')
        )
        # libvirt may learn of its end after the migration is done
        self.assertTrue(
            waiting.until(lambda: not made.guest.runs_on(), timeout=30)
        )
        self.assert_no_litter(made, at)
        for verdict in made.verdicts(at):
            self.assertTrue(verdict.intact, verdict)
        self.assertEqual([], made.changed(at))
        if at is self.lab.a:
            self._assert_told(state)

    def _assert_told(self, state):
        """Nobody is told that all is well."""
        self.assertIsInstance(self.undone, exception.GuestEnded)
        told = str(self.undone)
        there = state in ('copying', 'ready', 'pivoting')
        host = self.lab.b if there else self.lab.a
        self.assertIn(f'has ended on {host.hostname}', told)
        self.assertIn('shutting down, reason=', told)
        self.assertIn(f'guest on {self.lab.a.hostname} are complete', told)
        self.assertNotIn('nothing was lost', told)

    @ddt.data(*_SEEDED)
    def test_in_seeded_mode(self, state):
        self._killed('seeded', state)

    @ddt.data(*_DIRECT)
    def test_in_direct_mode(self, state):
        self._killed('direct', state)


@ddt.ddt
class TestLibvirtdIsKilled(ProcessTestCase):
    """It is started again at once, as its service manager does."""

    def _killed(self, state, host):
        def kill():
            killed = _end([host], 'libvirtd')
            host.start_libvirtd()
            return killed

        self.assert_intact(*self.kill_in('seeded', state, kill))

    @ddt.data(*_SEEDED)
    def test_on_the_source(self, state):
        self._killed(state, self.lab.a)

    @ddt.data(*_SEEDED)
    def test_on_the_destination(self, state):
        self._killed(state, self.lab.b)


@ddt.ddt
class TestExporterIsKilled(ProcessTestCase):
    """What gives the source's disks to the destination dies."""

    def _killed(self, mode, state):
        made, at = self.kill_in(
            mode, state, lambda: _end([self.lab.a], 'qemu-nbd')
        )
        self.assert_intact(made, at)

    @ddt.data('seeding', 'switching', 'copying', 'ready', 'pivoting')
    def test_in_seeded_mode(self, state):
        self._killed('seeded', state)

    @ddt.data('switching', 'copying', 'ready', 'pivoting')
    def test_in_direct_mode(self, state):
        self._killed('direct', state)
