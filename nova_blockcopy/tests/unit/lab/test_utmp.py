# SPDX-License-Identifier: Apache-2.0
"""The file with the time of a host's boot."""

import struct

from nova_blockcopy.tests.lab import utmp
from nova_blockcopy.tests.unit import base


class TestBoot(base.TestCase):
    def test_it_has_one_record_of_utmp(self):
        record = utmp.boot(1234567890)
        self.assertEqual(384, len(record))
        self.assertEqual((2,), struct.unpack_from('=h', record))
        self.assertEqual(
            (1234567890, 0), struct.unpack_from('=ii', record, 340)
        )
