# SPDX-License-Identifier: Apache-2.0
"""The decision on the room of all migrations together."""

import ddt

from nova_blockcopy import room
from nova_blockcopy.tests.unit import base


def need(migration, held=0, merge=0, **more):
    more.setdefault('steady', True)
    return room.Need(migration=migration, held=held, merge=merge, **more)


@ddt.ddt
class TestMerge(base.TestCase):
    @ddt.data(
        # a disk without holes
        (100, 100, 100, 30, 0),
        # one with more holes than the deltas have data, and one with fewer
        (100, 20, 20, 30, 30),
        (100, 90, 90, 30, 10),
        # half of it is merged, all of it is merged
        (100, 20, 35, 30, 15),
        (100, 20, 50, 30, 0),
        (100, 20, 60, 30, 0),
        # a file with tables is larger than the disk
        (100, 120, 120, 30, 0),
    )
    @ddt.unpack
    def test_what_it_adds(self, size, first, now, held, expected):
        self.assertEqual(expected, room.merge(size, first, now, held))


@ddt.ddt
class TestDemand(base.TestCase):
    def total(self, migration, *needs, least=100):
        return room.demand(migration, needs, least).total

    def test_nobody_migrates(self):
        self.assertEqual(100, self.total('new'))

    @ddt.data('one', 'other', 'new')
    def test_all_merges_count_for_each(self, migration):
        found = room.demand(
            migration, [need('one', 50, 50), need('other', 30, 20)], 100
        )
        self.assertEqual((70, 2), (found.merges, found.migrations))

    def test_the_largest_yields_first(self):
        needs = [need('a', 10), need('b', 30), need('c', 10, 10)]
        margins = [
            room.demand(each, needs, 100).margin for each in ('b', 'c', 'a')
        ]
        self.assertEqual([100, 50, 25], margins)

    def test_one_of_two_equals_yields_first(self):
        needs = [need('a', 10), need('b', 10)]
        self.assertEqual(
            {100, 50},
            {room.demand(each, needs, 100).margin for each in ('a', 'b')},
        )

    def test_the_next_waits_while_one_is_taken_back(self):
        gone = need('b', 300, steady=False, leaving=True)
        found = room.demand('a', [need('a', 10), gone], 100)
        self.assertEqual(50, found.margin)

    def test_one_that_cannot_be_taken_back_does_not_yield(self):
        pivoting = need('b', 300, steady=False)
        found = room.demand('a', [need('a', 10), pivoting], 100)
        self.assertEqual(100, found.margin)

    def test_a_new_one_keeps_the_whole_margin(self):
        needs = [need('a', 30), need('b', 30, leaving=True, steady=False)]
        self.assertEqual(100, self.total('new', *needs))

    def test_writes_of_all_guests_make_the_margin_larger(self):
        needs = [need('a', rate=30), need('b', rate=50)]
        self.assertEqual(80 * room.HORIZON_S, self.total('b', *needs))
        self.assertEqual(1000, self.total('b', *needs, least=1000))
