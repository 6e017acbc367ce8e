# SPDX-License-Identifier: Apache-2.0
"""What an interrupted migration has seeded is not copied again."""

import typing

import testscenarios

from nova_blockcopy import model
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud.scenarios import ends


class TestResumed(testscenarios.WithScenarios, ends.EndsTestCase):  # type: ignore[misc]
    scenarios: typing.ClassVar = [
        (images, {'images': images}) for images in compute.IMAGES
    ]
    options: typing.ClassVar = {
        'libvirt': {
            **ends.EndsTestCase.options['libvirt'],
            'block_migration_bandwidth': 32,
        },
        'blockcopy': {'mode': model.Mode.SEEDED.value, 'keep_seeded': 600},
    }

    def test_aborted_and_again(self):
        guest = self.boot(load=1)
        whole = self._seed(guest, until=0.5)
        guest.abort()
        guest.wait_for_migration('cancelled')
        self.assert_intact(guest, self.cloud.a)
        kept = self._inode(f'{guest.uuid}_kept')
        rest = self._seed(guest, until=0)
        self.assertEqual(kept, self._inode(guest.uuid))
        if self.images != 'raw':
            # those have holes, and too little else to speak of a half; of
            # qcow2, the ephemeral disk and the swap disk travel by content
            self.assertLess(rest, 0.55 * whole)
        guest.wait_for_migration('completed')
        self.assert_intact(guest, self.cloud.b)
        self.assert_nothing_left(self.cloud.b)

    def _inode(self, directory):
        """What tells a root disk from another one of the same name."""
        if self.images == 'lvm':
            return None
        return self.cloud.b.path(directory, 'disk').stat().st_ino

    def _seed(self, guest, until):
        """Begin to seed, and wait until so much has arrived.

        :param until: a share of what is to travel
        :returns: bytes that are to travel
        """
        guest.live_migrate(self.cloud.b)
        self.wait_for_state(guest, self.cloud.a, 'seeding')
        number = guest.migrations()[0].id
        path = f'/servers/{guest.uuid}/migrations/{number}'
        found: dict[str, int] = {}

        def arrived():
            found.update(self.cloud.api.compute('GET', path)['migration'])
            total = found['disk_total_bytes'] or 0
            return total > 0 and found['disk_processed_bytes'] >= until * total

        self.assertTrue(waiting.until(arrived, timeout=300))
        return found['disk_total_bytes']
