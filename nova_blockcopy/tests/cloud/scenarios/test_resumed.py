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

"""What an interrupted migration has seeded is not copied again."""

import typing

import testscenarios

from nova_blockcopy import model
from nova_blockcopy import waiting
from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud.scenarios import test_ends

_MEMORY = 128 << 20


class TestResumed(testscenarios.WithScenarios, test_ends.EndsTestCase):  # type: ignore[misc]
    scenarios: typing.ClassVar = [
        (images, {'images': images}) for images in compute.IMAGES
    ]
    options: typing.ClassVar = {
        'libvirt': {
            **test_ends.EndsTestCase.options['libvirt'],
            'block_migration_bandwidth': 64,
        },
        'blockcopy': {'mode': model.Mode.SEEDED.value, 'keep_seeded': 600},
    }

    def test_aborted_and_again(self):
        guest = self.boot()
        guest.live_migrate(self.cloud.b)
        total = self._wait_for_half(guest)
        guest.abort()
        guest.wait_for_migration('cancelled')
        self.assert_intact(guest, self.cloud.a)
        before = self._received()
        self.move(guest, self.cloud.b)
        travelled = self._received() - before - _MEMORY
        self.assertLess(travelled, 0.55 * total)

    def _wait_for_half(self, guest):
        """Wait until half of the disks has been seeded; returns their size."""
        number = guest.migrations()[0].id
        path = f'/servers/{guest.uuid}/migrations/{number}'
        found: dict[str, int] = {}

        def half():
            found.update(self.cloud.api.compute('GET', path)['migration'])
            done, total = (
                found['disk_processed_bytes'],
                found['disk_total_bytes'],
            )
            return bool(total and done > total / 2)

        self.assertTrue(waiting.until(half, timeout=120))
        return found['disk_total_bytes']

    def _received(self):
        """Bytes that have come to the destination."""
        statistics = '/sys/class/net/eth0/statistics/rx_bytes'
        return int(self.cloud.b.host.run('cat', statistics).stdout)
