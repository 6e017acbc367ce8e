# SPDX-License-Identifier: Apache-2.0
"""One limit over many disks."""

from typing import ClassVar

import ddt

from nova_blockcopy import bandwidth
from nova_blockcopy.tests.unit import base

MIB = bandwidth.MIB


@ddt.ddt
class TestShares(base.TestCase):
    def test_no_limit_is_none_for_anybody(self):
        self.assertEqual(
            {'vda': 0, 'vdb': 0},
            bandwidth.shares(0, {'vda': False, 'vdb': True}),
        )

    def test_alike_disks_get_alike_shares(self):
        self.assertEqual(
            {'vda': 50, 'vdb': 50},
            bandwidth.shares(100, {'vda': False, 'vdb': False}),
        )

    def test_a_ready_disk_leaves_most_to_the_others(self):
        shares = bandwidth.shares(100 * MIB, {'vda': True, 'vdb': False})
        self.assertGreater(shares['vdb'], 5 * shares['vda'])
        self.assertGreater(shares['vda'], 0)

    @ddt.data(1, 7, 10, 12345, 10 * MIB)
    def test_the_limit_holds_together_and_nobody_is_unlimited(self, total):
        ready = {'vda': True, 'vdb': False, 'vdc': False}
        speeds = bandwidth.shares(total, ready).values()
        self.assertGreaterEqual(min(speeds), 1)
        # less than a byte/s for a disk cannot be said
        self.assertLessEqual(sum(speeds), max(total, len(ready)))

    def test_no_disks(self):
        self.assertEqual({}, bandwidth.shares(100, {}))


@ddt.ddt
class TestSlowed(base.TestCase):
    """A guest's writes while its disk is copied in units of 4096 bytes."""

    #: What is limited where nothing was before.
    usual: ClassVar[dict[str, int]] = {
        'write_bytes_sec': 8192,
        'write_iops_sec': 2,
    }

    def slowed(self, now, speed=8192):
        """The limits that are set; 0 is left out."""
        wanted = bandwidth.slowed(now, speed, 4096)
        return {k: v for k, v in wanted.items() if v}

    @ddt.data({}, {'total_bytes_sec': 0, 'write_bytes_sec': 0})
    def test_writes_are_limited_where_nothing_was(self, now):
        self.assertEqual(self.usual, self.slowed(now))

    @ddt.data(
        # one for both may not stand beside one for writes
        ('total_bytes_sec', 9000, {'total_bytes_sec': 8192}),
        ('total_bytes_sec', 5000, {'total_bytes_sec': 5000}),
        ('write_bytes_sec', 9000, {'write_bytes_sec': 8192}),
        ('write_bytes_sec', 5000, {'write_bytes_sec': 5000}),
        ('total_iops_sec', 9, {'total_iops_sec': 2}),
        ('total_iops_sec', 1, {'total_iops_sec': 1}),
        ('write_iops_sec', 9, {'write_iops_sec': 2}),
        ('write_iops_sec', 1, {'write_iops_sec': 1}),
    )
    @ddt.unpack
    def test_the_lower_limit_holds(self, name, value, expected):
        what = name.split('_')[1]
        others = {k: v for k, v in self.usual.items() if what not in k}
        self.assertEqual({**others, **expected}, self.slowed({name: value}))

    @ddt.data('total', 'write')
    def test_bursts_are_none(self, of):
        now = {
            f'{of}_{what}_sec{end}': value
            for what in ('bytes', 'iops')
            for end, value in (('', 5000), ('_max', 10**6), ('_max_length', 9))
        }
        self.assertEqual(
            {f'{of}_bytes_sec': 5000, f'{of}_iops_sec': 2}, self.slowed(now)
        )

    def test_other_limits_stay(self):
        now = {
            'read_bytes_sec': 70,
            'read_iops_sec_max': 80,
            'size_iops_sec': 90,
        }
        self.assertEqual({**self.usual, **now}, self.slowed(now))
        self.assertEqual(70, now['read_bytes_sec'])

    @ddt.data(0, 1, 4095)
    def test_no_limit_is_ever_none(self, speed):
        self.assertEqual(
            {'write_bytes_sec': max(1, speed), 'write_iops_sec': 1},
            self.slowed({}, speed),
        )


@ddt.ddt
class TestBuffer(base.TestCase):
    def test_without_a_limit_the_hypervisor_chooses(self):
        self.assertEqual(0, bandwidth.buffer(0))

    @ddt.data(1, MIB, 5 * MIB, 20 * MIB, 63 * MIB, 2**60)
    def test_a_power_of_two_within_bounds(self, speed):
        size = bandwidth.buffer(speed)
        self.assertEqual(0, size & (size - 1))
        self.assertTrue(MIB <= size <= 16 * MIB, size)

    @ddt.data(5 * MIB, 12 * MIB, 30 * MIB)
    def test_about_a_quarter_of_a_second(self, speed):
        self.assertTrue(speed / 4 <= bandwidth.buffer(speed) <= speed / 2)
