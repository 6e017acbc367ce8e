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

"""Our driver, by the real API: guests move, whatever their disks are."""

import typing

import testscenarios

from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud import image
from nova_blockcopy.tests.cloud import server
from nova_blockcopy.tests.cloud.scenarios import base

DRIVER = 'blockcopy.BlockCopyLibvirtDriver'


class BlockCopyTestCase(base.CloudTestCase):
    """On a cloud whose computes have our driver."""

    images = 'qcow2'

    def setUp(self):
        super().setUp()
        self.cloud = self.set_cloud(images=self.images, driver=DRIVER)

    def boot(self, **writes: typing.Any) -> server.Server:
        guest = self.cloud.boot(self.cloud.a, writes=image.Writes(**writes))
        self.addCleanup(self._delete, guest)
        return guest

    def move(self, guest: server.Server, to: compute.Compute) -> None:
        guest.live_migrate(to)
        self.assertEqual('completed', guest.wait_for_migration().status)
        self.assert_intact(guest, to)
        self.assertEqual([], self.left_of(guest, to))

    def left_of(self, guest: server.Server, at: compute.Compute) -> list[str]:
        """What other hosts still have of it, and any trace of a move."""
        found = [
            f'{line}'
            for each in self.cloud.computes
            if each is not at
            for line in each.litter()
        ]
        for each in self.cloud.computes:
            state = each.path().parent / 'blockcopy'
            found += [
                f'{path.name} in {path.parent.name} on {each.name}'
                for path in state.rglob('*')
                if path.is_file()
            ]
            found += [
                f'{process.name()} on {each.name}'
                for process in each.host.processes()
                if process.name() == 'qemu-nbd'
            ]
        return found

    def allocated(self, guest: server.Server) -> list[str]:
        """The hosts whose resources placement counts for it."""
        api = self.cloud.api
        held = api.call(
            lambda to: to.session.get(
                f'/allocations/{guest.uuid}',
                endpoint_filter={'service_type': 'placement'},
            ).json()
        )['allocations']
        hypervisors = api.compute('GET', '/os-hypervisors')['hypervisors']
        return [
            each['hypervisor_hostname']
            for each in hypervisors
            if each['id'] in held
        ]

    def _delete(self, guest: server.Server) -> None:
        guest.delete()
        self.assertEqual([], self.cloud.litter())


class TestImages(testscenarios.WithScenarios, BlockCopyTestCase):  # type: ignore[misc]
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

    def _config_drive(self, guest, at):
        content = at.path(guest.uuid, 'disk.config').read_bytes()
        self.assertIn(guest.uuid.encode(), content)
        return content


class TestNotOurs(BlockCopyTestCase):
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
        self.assertEqual([], self.left_of(guest, self.cloud.a))
        self.cloud.configure(before)
        self.move(guest, self.cloud.b)
