# SPDX-License-Identifier: Apache-2.0
"""Disks that are seeded for longer than Nova gives to a live migration."""

import time
import typing

from nova_blockcopy import model
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud.scenarios import ends

#: Seconds that Nova gives for each GiB of memory, and for two at least.
_LIMIT = 15


class TestNovasClock(ends.EndsTestCase):
    options: typing.ClassVar = {
        'libvirt': {
            **ends.EndsTestCase.options['libvirt'],
            'block_migration_bandwidth': 32,
            'live_migration_completion_timeout': _LIMIT,
        },
        'blockcopy': {'mode': model.Mode.SEEDED.value},
    }

    def test_seeding_does_not_count(self):
        guest = self.boot(load=1)
        guest.live_migrate(self.cloud.b)
        self.wait_for_state(guest, self.cloud.a, 'seeding')
        began = time.monotonic()
        waiting.until(
            lambda: (
                self.state(guest, self.cloud.a) not in ('freezing', 'seeding')
            ),
            timeout=300,
        )
        self.assertGreater(time.monotonic() - began, 2 * _LIMIT)
        guest.wait_for_migration('completed')
        self.assert_intact(guest, self.cloud.b)
        self.assert_nothing_left(self.cloud.b)
