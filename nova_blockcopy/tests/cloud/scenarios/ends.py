# SPDX-License-Identifier: Apache-2.0
"""Migrations that somebody or something interferes with, in each state."""

import contextlib
import typing
from collections.abc import Iterator

import psutil

from nova_blockcopy import model
from nova_blockcopy.migration.source import modes
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud import server
from nova_blockcopy.tests.cloud.scenarios import blockcopy

_ATTEMPTS = 5
#: What a source's journal says, in this order.
STATES = modes.ORDER[model.Mode(blockcopy.MODE)]
#: The state that lasts the longer the larger the disks are.
LONG = 'seeding' if 'seeding' in STATES else 'copying'


class EndsTestCase(blockcopy.BlockCopyTestCase):
    """On volumes, which have no holes, so that there is time."""

    images = 'lvm'
    options: typing.ClassVar = {
        'libvirt': {
            'block_migration_bandwidth': 256,
            'live_migration_monitor_interval': 1,
        },
    }

    def boot(self, *, networked=True, **writes):
        """A guest that writes enough for a window that can be looked into."""
        if LONG == 'seeding' and not writes:
            writes = {'load': 8 << 20, 'load_length': 32 << 20}
        return super().boot(networked=networked, **writes)

    def moving(self, state, **how):
        """A guest whose migration is in this state."""
        guest = self.boot(**how)
        guest.live_migrate(self.cloud.b)
        self.wait_for_state(guest, self.cloud.a, state)
        return guest

    def other(self, than: compute.Compute) -> compute.Compute:
        (it,) = (each for each in self.cloud.computes if each is not than)
        return it

    @contextlib.contextmanager
    def held(self, guest: server.Server) -> Iterator[None]:
        """While the source's disks do not answer, so that the window lasts."""
        with self.silenced(self.cloud.a):
            self.assertEqual('copying', self.state(guest, self.cloud.a))
            yield
            self.assertEqual('copying', self.state(guest, self.cloud.a))

    @contextlib.contextmanager
    def silenced(self, at: compute.Compute) -> Iterator[None]:
        """While the exporters of a host do not answer."""
        exporters = [
            process
            for process in at.host.processes()
            if process.name() == 'qemu-nbd'
        ]
        for exporter in exporters:
            exporter.suspend()
        try:
            yield
        finally:
            for exporter in exporters:
                with contextlib.suppress(psutil.NoSuchProcess):
                    exporter.resume()

    def assert_told(self, guest, event, *words, host=None):
        """The API says why the latest live migration has failed."""
        told = guest.events()[event]
        self.assertEqual('Error', told['result'])
        self.assertEqual((host or self.cloud.a).name, told['host'])
        for word in words:
            self.assertIn(word, told['details'])

    def assert_at_home(self, guest, at=None):
        """As before, with nothing left on any other host."""
        home = at or self.cloud.a
        self.assert_intact(guest, home)
        self.assert_nothing_left(home)
        self.assertEqual([home.name], self.allocated(guest))

    def kill_in(self, guest, state, *, source):
        """Move a guest, and end a nova-compute without notice in a state.

        :param source: whether it is the source's, or the destination's
        :returns: the source, the destination, and the one that was killed
        """
        here, there = self.stop_in(guest, state, source=source)
        victim = here if source else there
        victim.kill()
        return here, there, victim

    def stop_in(self, guest, state, *, source):
        """Move a guest, and stop a nova-compute in a state, as by SIGSTOP.

        :param source: whether it is the source's, or the destination's
        :returns: the source and the destination
        """
        for _attempt in range(_ATTEMPTS):
            here = guest.at
            there = self.other(here)
            victim = here if source else there
            guest.live_migrate(there)
            if self._stopped_in(guest, state, here, victim):
                return here, there
            # the state was too short to be hit
            guest.wait_for_migration('completed')
        raise AssertionError(f'{state} was missed {_ATTEMPTS} times')

    def _freeze(self, victim):
        victim.service.process.suspend()

    def _thaw(self, victim):
        victim.service.process.resume()

    def _stopped_in(self, guest, state, here, victim):
        """Stop a nova-compute, so that what is read of the state is true."""
        wanted = STATES.index(state)

        def reached():
            now = self.state(guest, here)
            return now in STATES and STATES.index(now) >= wanted

        waiting.until(reached, timeout=blockcopy.SECONDS, interval=0.002)
        self._freeze(victim)
        if self.state(guest, here) == state:
            return True
        self._thaw(victim)
        return False

    def run_lvm(self, command, *arguments, check=True):
        """Run a command of LVM's on the destination."""
        volumes = self.cloud.b.volumes
        program = command
        if volumes.commands is not None:
            program = f'{volumes.commands}/{command}'
        self.cloud.b.host.run(program, *arguments, check=check)
