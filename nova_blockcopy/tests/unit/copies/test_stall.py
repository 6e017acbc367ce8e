# SPDX-License-Identifier: Apache-2.0
"""For how long a number has stayed the same."""

import time
from unittest import mock

from nova_blockcopy.copies import stall
from nova_blockcopy.tests.unit import base


class TestStall(base.TestCase):
    def setUp(self):
        super().setUp()
        self.now = 100.0
        self.enterContext(
            mock.patch.object(
                *(time, 'monotonic'),
                autospec=True,
                side_effect=lambda: self.now,
            )
        )
        self.stall = stall.Stall()

    def test_standing_still_is_counted_from_the_last_byte(self):
        self.assertEqual(0.0, self.stall.seconds(1))
        self.now += 3
        self.assertEqual(3.0, self.stall.seconds(1))
        self.now += 1
        self.assertEqual(4.0, self.stall.seconds(1))
        self.now += 1
        self.assertEqual(0.0, self.stall.seconds(2))

    def test_what_is_counted_anew_has_moved(self):
        self.stall.seconds(5)
        self.now += 2
        self.assertEqual(0.0, self.stall.seconds(0))
