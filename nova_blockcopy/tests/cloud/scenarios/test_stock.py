# SPDX-License-Identifier: Apache-2.0
"""Nova without us: that the cloud is a cloud, and what it does by itself."""

from nova_blockcopy.tests.cloud.scenarios import base


class TestStock(base.CloudTestCase):
    def test_qcow2_is_live_migrated(self):
        cloud = self.set_cloud(images='qcow2')
        guest = cloud.boot(cloud.a)
        guest.live_migrate(cloud.b)
        self.assertEqual('completed', guest.wait_for_migration().status)
        self.assert_intact(guest, cloud.b)
        guest.delete()
        self.assertEqual([], cloud.litter())
