# SPDX-License-Identifier: Apache-2.0
"""Our driver, by the real API: guests move, whatever their disks are."""

import typing

import testscenarios

from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud import user
from nova_blockcopy.tests.cloud.scenarios import blockcopy


class TestImages(testscenarios.WithScenarios, blockcopy.BlockCopyTestCase):  # type: ignore[misc]
    """Root disk, ephemeral disk, swap and config drive, there and back."""

    scenarios: typing.ClassVar = [
        (images, {'images': images}) for images in compute.IMAGES
    ]

    def test_there_and_back(self):
        guest = self.boot()
        drive = self._config_drive(guest, self.cloud.a)
        for to in (self.cloud.b, self.cloud.a):
            self.move(guest, to)
            self.assertEqual([to.name], self.allocated(guest))
            self.assertEqual(drive, self._config_drive(guest, to))
        for each in self.cloud.computes:
            self._assert_only_the_helper_is_root(each)

    def _config_drive(self, guest, at):
        content = at.path(guest.uuid, 'disk.config').read_bytes()
        self.assertIn(guest.uuid.encode(), content)
        return content

    def _assert_only_the_helper_is_root(self, at):
        nova = at.service.process
        self.assertEqual({user.NUMBER}, {*nova.uids(), *nova.gids()})
        helpers = [
            process
            for process in at.host.processes()
            if 'nova_blockcopy.runtime.privsep.context' in process.cmdline()
        ]
        self.assertNotEqual([], helpers)
        for helper in helpers:
            self.assertEqual(0, helper.uids().effective)


class TestNotOurs(blockcopy.BlockCopyTestCase):
    def test_a_destination_without_us_is_refused(self):
        """And the conductor's other hosts would be tried."""
        guest = self.boot()
        before = self.cloud.settings
        self.addCleanup(self.cloud.configure, before)
        self.cloud.b.configure(compute.Settings(images=self.images))
        self.cloud.b.restart()
        guest.live_migrate(self.cloud.b)
        self.assertEqual('error', guest.wait_for_migration().status)
        self.assert_intact(guest, self.cloud.a)
        self.assert_nothing_left(self.cloud.a)
        self.cloud.configure(before)
        self.move(guest, self.cloud.b)
