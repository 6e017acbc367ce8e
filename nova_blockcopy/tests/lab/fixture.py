# SPDX-License-Identifier: Apache-2.0
"""A fixture that gives tests a lab, one for each process."""

import atexit

import fixtures
import libvirt

from nova_blockcopy.tests.lab import lab

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
        return self.lab.litter()

    def _empty(self) -> None:
        self.lab.empty()


def _bring_up() -> lab.Lab:
    lab.sweep()
    it = lab.Lab()
    it.up()
    atexit.register(it.down)
    return it
