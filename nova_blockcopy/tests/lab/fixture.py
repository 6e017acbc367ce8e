# SPDX-License-Identifier: Apache-2.0
"""A fixture that gives tests a lab, one for each process."""

import atexit

import fixtures
import libvirt

from nova_blockcopy.tests.lab import lab

_shared: dict[bool, lab.Lab] = {}


class LabFixture(fixtures.Fixture):
    """Gives a running lab as ``lab``, and empties its hosts after the test.

    :param owners: see :class:`host.Host`
    """

    def __init__(self, *, owners: bool = False) -> None:
        super().__init__()
        self._owners = owners

    def _setUp(self) -> None:
        libvirt.registerErrorHandler(lambda *_ignored: None, None)
        if self._owners not in _shared:
            _shared[self._owners] = _bring_up(owners=self._owners)
        self.lab = _shared[self._owners]
        self.addCleanup(self._empty)

    def litter(self) -> list[str]:
        """Describe the processes and files that a migration has left."""
        return self.lab.litter()

    def _empty(self) -> None:
        self.lab.empty()


def _bring_up(*, owners: bool) -> lab.Lab:
    lab.sweep()
    it = lab.Lab(owners=owners)
    it.up()
    atexit.register(it.down)
    return it
