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

"""A lab for tests: one for each process, and proof that nothing is left."""

import atexit

import fixtures
import libvirt

from nova_blockcopy.tests.lab import lab

_SERVERS = ('libvirtd', 'qemu-system-x86', 'qemu-system-x86_64')
_shared: list[lab.Lab] = []


class LabFixture(fixtures.Fixture):
    """Gives ``lab``, which is up, with empty hosts at the end."""

    def _setUp(self) -> None:
        libvirt.registerErrorHandler(lambda *_ignored: None, None)
        if not _shared:
            _shared.append(_bring_up())
        self.lab = _shared[0]
        self.addCleanup(self._empty)

    def litter(self) -> list[str]:
        """What an ended migration has left on the hosts, in words."""
        found = []
        for each in self.lab.hosts:
            found += [
                f'process {process.name()} on host {each.name}'
                for process in each.processes()
                if process.name() not in _SERVERS
            ]
            home = each.outside(each.home)
            found += [
                f'{file.relative_to(home)} on host {each.name}'
                for path in ('journal', 'deltas')
                for file in (home / path).rglob('*')
                if file.is_file()
            ]
        return found

    def _empty(self) -> None:
        self.lab.empty()


def _bring_up() -> lab.Lab:
    lab.sweep()
    it = lab.Lab()
    it.up()
    atexit.register(it.down)
    return it
