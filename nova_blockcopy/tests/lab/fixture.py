# SPDX-License-Identifier: Apache-2.0
"""A fixture that gives tests a lab, one for each process."""

import atexit

import fixtures
import libvirt

from nova_blockcopy.tests.lab import lab

_SERVERS = ('libvirtd', 'qemu-system-x86', 'qemu-system-x86_64')
_shared: list[lab.Lab] = []


class LabFixture(fixtures.Fixture):
    """Gives a running lab as ``lab``, and empties its hosts after the test."""

    def _setUp(self) -> None:
        libvirt.registerErrorHandler(lambda *_ignored: None, None)
        if not _shared:
            _shared.append(_bring_up())
        self.lab = _shared[0]
        self.addCleanup(self._empty)

    def litter(self) -> list[str]:
        """Describe the processes and files that a migration has left."""
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
