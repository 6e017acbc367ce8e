# SPDX-License-Identifier: Apache-2.0
"""A person settles migrations while nova-compute of the source is away."""

from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud import server
from nova_blockcopy.tests.cloud.scenarios import ends


class TestSettle(ends.EndsTestCase):
    def settle(self, guest: server.Server, at: compute.Compute) -> str:
        """Run the command as Nova's user; what it prints."""
        return at.command('nova-blockcopy', 'settle', guest.uuid).stdout

    def test_back(self):
        guest = self.boot()
        here, _there, victim = self.kill_in(guest, ends.LONG, source=True)
        said = self.settle(guest, here)
        self.assertIn('uses the disks of the source', said)
        self.assertEqual('settled', self.state(guest, here))
        victim.restart()
        guest.wait_for_status('ACTIVE')
        self.assert_at_home(guest, here)
        self.move(guest, self.other(here))

    def test_on(self):
        guest = self.boot()
        here, there, victim = self.kill_in(guest, 'releasing', source=True)
        said = self.settle(guest, here)
        self.assertIn('uses the disks of the destination', said)
        self.assertEqual('settled', self.state(guest, here))
        victim.restart()
        guest.wait_for_status('ACTIVE')
        self.assert_at_home(guest, there)
