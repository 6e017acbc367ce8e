# SPDX-License-Identifier: Apache-2.0
"""A fixture that gives tests a cloud, one for each process."""

import atexit

import fixtures
import libvirt

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import cloud
from nova_blockcopy.tests.cloud import compute

_NAME = 'tests'
_shared: list[cloud.Cloud] = []


class CloudFixture(fixtures.Fixture):
    """Gives a running cloud as ``cloud``, and deletes all servers at the end.

    :param settings: settings of both computes
    """

    def __init__(self, settings: compute.Settings) -> None:
        self._settings = settings

    def _setUp(self) -> None:
        libvirt.registerErrorHandler(lambda *_ignored: None, None)
        if not _shared:
            _shared.append(_bring_up(self._settings))
        self.cloud = _shared[0]
        self.addCleanup(self._empty)
        if self._settings != self.cloud.settings:
            self.cloud.configure(self._settings)

    def _empty(self) -> None:
        """Delete all servers, even those of a failed test."""
        for each in self.cloud.computes:
            each.start()
            each.wait()
        for server in self.cloud.servers():
            self.cloud.api.compute('DELETE', f'/servers/{server}')
        if not waiting.until(lambda: not self.cloud.servers(), timeout=120):
            raise AssertionError(
                f'servers cannot be deleted: {self.cloud.servers()}'
            )


def _bring_up(settings: compute.Settings) -> cloud.Cloud:
    cloud.sweep()
    it = cloud.Cloud(_NAME)
    it.up(settings)
    atexit.register(it.down)
    return it
