# SPDX-License-Identifier: Apache-2.0
"""The course of a migration that has not begun."""

import ddt

from nova_blockcopy import outlook
from nova_blockcopy.tests.unit import base

MIB = 2**20


def disk(travel=1000 * MIB, grows=0.0, size=10_000 * MIB):
    return outlook.Disk(size_bytes=size, travel_bytes=travel, grows=grows)


@ddt.ddt
class TestWrites(base.TestCase):
    @ddt.data(
        (4096.0, 8.0, 8 * 4096),
        (8 * 65536.0, 8.0, 8 * 65536),
        (8 * 5000.0, 8.0, 8 * 8192),
        (0.0, 0.0, 0),
    )
    @ddt.unpack
    def test_whole_clusters_count(self, written, requests, grows):
        found = outlook.Writes(bytes_per_s=written, requests_per_s=requests)
        self.assertEqual(grows, found.clusters_per_s)


class TestDirect(base.TestCase):
    def test_the_guest_writes_while_it_is_copied(self):
        found = outlook.direct([disk(grows=50 * MIB)], 100 * MIB)
        self.assertEqual(20.0, found.window_s)
        self.assertTrue(found.converges)
        self.assertEqual((), found.rounds)

    def test_a_guest_that_writes_faster_than_that(self):
        found = outlook.direct([disk(grows=100 * MIB)], 100 * MIB)
        self.assertIsNone(found.window_s)
        self.assertFalse(found.converges)

    def test_nothing_to_copy(self):
        found = outlook.direct([disk(0)], 100 * MIB)
        self.assertEqual((0.0, True), (found.window_s, found.converges))


class TestSeeded(base.TestCase):
    def seeded(self, *disks, rate=100 * MIB, longest=1.0, rounds=5):
        return outlook.seeded(disks, rate, longest=longest, rounds=rounds)

    def test_a_guest_that_does_not_write(self):
        found = self.seeded(disk())
        self.assertEqual(
            ((1000 * MIB,), 10.0), (found.rounds, found.seeding_s)
        )
        self.assertEqual((0.0, True), (found.window_s, found.converges))
        self.assertEqual(0, found.delta_bytes)

    def test_each_round_copies_what_was_written_in_the_one_before(self):
        found = self.seeded(disk(grows=20 * MIB))
        self.assertEqual((1000 * MIB, 200 * MIB), found.rounds)
        self.assertEqual(1200 * MIB, found.travel_bytes)
        self.assertEqual(12.0, found.seeding_s)
        self.assertEqual(0.4, found.window_s)
        self.assertEqual(240 * MIB, found.delta_bytes)
        self.assertTrue(found.converges)

    def test_the_rounds_are_limited(self):
        found = self.seeded(disk(grows=90 * MIB), rounds=3)
        self.assertEqual(3, len(found.rounds))
        self.assertFalse(found.converges)

    def test_no_round_helps_against_a_guest_that_writes_faster(self):
        found = self.seeded(disk(grows=200 * MIB))
        self.assertEqual(2, len(found.rounds))
        self.assertFalse(found.converges)
        self.assertEqual(40.0, found.window_s)

    def test_a_delta_is_never_larger_than_the_disk(self):
        found = self.seeded(disk(grows=200 * MIB, size=500 * MIB))
        self.assertEqual(500 * MIB, found.rounds[1])

    def test_the_disks_share_the_rate(self):
        found = self.seeded(disk(grows=10 * MIB), disk(grows=10 * MIB))
        self.assertEqual((2000 * MIB, 400 * MIB), found.rounds[:2])
