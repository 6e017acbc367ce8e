#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""The engine, or the guest, is killed; afterwards all is settled."""

import signal

import ddt
import psutil

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import engine

_DIRECT = (
    'preparing',
    'exporting',
    'switching',
    'copying',
    'ready',
    'pivoting',
    'releasing',
)
_SEEDED = (*_DIRECT, 'freezing', 'seeding', 'flattening')


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


@ddt.ddt
class TestGuestIsKilled(base.TestCase):
    """Its QEMU dies; all that it had acknowledged is on one host."""

    def _killed(self, mode, state):
        made = self.set_scene(
            *('block', 'layered'), mode=mode, block_migration_bandwidth=64
        )
        killed: list[psutil.Process] = []

        def kill(now):
            if now.state == state and not killed:
                for each in self.lab.hosts:
                    for process in each.processes():
                        if process.name().startswith('qemu-system'):
                            process.send_signal(signal.SIGKILL)
                            killed.append(process)

        try:
            made.run(made.migration(kill))
            at = self.lab.b
        except exception.MigrationUndone:
            at = self.lab.a
        self.assertNotEqual([], killed)
        self.assertEqual('', made.guest.runs_on())
        self.assert_no_litter(made, at)
        for verdict in made.verdicts(at):
            self.assertTrue(verdict.intact, verdict)
        self.assertEqual([], made.changed(at))

    @ddt.data('freezing', 'seeding', 'exporting', 'copying', 'flattening')
    def test_in_seeded_mode(self, state):
        self._killed('seeded', state)

    @ddt.data('exporting', 'copying')
    def test_in_direct_mode(self, state):
        self._killed('direct', state)


@ddt.ddt
class TestLibvirtdIsKilled(base.TestCase):
    """It is started again at once, as its service manager does."""

    def _killed(self, state, host):
        made = self.set_scene(
            *('block', 'layered'), mode='seeded', block_migration_bandwidth=64
        )
        at = {'a': self.lab.a, 'b': self.lab.b}[host]
        killed: list[int] = []

        def kill(now):
            if now.state == state and not killed:
                for process in at.processes():
                    if process.name() == 'libvirtd':
                        process.kill()
                        process.wait(10)
                        killed.append(process.pid)
                at.start_libvirtd()

        try:
            made.run(made.migration(kill))
            to = self.lab.b
        except exception.MigrationUndone:
            to = self.lab.a
        self.assertEqual(1, len(killed))
        self.assert_intact(made, to)

    @ddt.data('freezing', 'seeding', 'exporting')
    def test_on_the_source(self, state):
        self._killed(state, 'a')

    @ddt.data('seeding', 'copying', 'flattening')
    def test_on_the_destination(self, state):
        self._killed(state, 'b')
