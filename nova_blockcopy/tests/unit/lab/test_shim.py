# SPDX-License-Identifier: Apache-2.0
"""The logs of the library between programs and disks."""

import struct

from nova_blockcopy.tests.lab import shim
from nova_blockcopy.tests.unit import base


def entry(offset, old):
    return struct.pack('=QQ', offset, len(old)) + old


class TestEntries(base.TestCase):
    def test_a_flush_leaves_none(self):
        self.assertEqual([], list(shim.entries(b'')))

    def test_they_come_in_the_order_of_the_writes(self):
        log = entry(512, b'old') + entry(0, b'') + entry(1 << 40, b'older')
        self.assertEqual(
            [(512, b'old'), (0, b''), (1 << 40, b'older')],
            list(shim.entries(log)),
        )
