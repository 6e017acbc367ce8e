# SPDX-License-Identifier: Apache-2.0
"""Ports are bound to the host that the guest is on, also after a way back."""

from nova_blockcopy.tests.cloud.scenarios import ends


class TestPorts(ends.EndsTestCase):
    def test_bound_before_the_copy_and_back(self):
        """The network reaches the guest while its disks still follow."""
        here, there = self.cloud.a.name, self.cloud.b.name
        guest = self.boot()
        self.assert_bound(guest, {here: 'ACTIVE'})
        guest.live_migrate(self.cloud.b)
        self.wait_for_state(guest, self.cloud.a, 'copying')
        with self.held(guest):
            self.assert_bound(guest, {here: 'INACTIVE', there: 'ACTIVE'})
        guest.abort()
        guest.wait_for_migration('cancelled')
        self.assert_at_home(guest)
        self.move(guest, self.cloud.b)
