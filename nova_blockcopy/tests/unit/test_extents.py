# SPDX-License-Identifier: Apache-2.0
"""Ranges of an image: no byte is lost between them, and none is twice."""

import itertools
import random

import ddt

from nova_blockcopy import bandwidth
from nova_blockcopy import extents
from nova_blockcopy.model import Extent
from nova_blockcopy.tests.unit import base

MIB = bandwidth.MIB
UNIT = extents.UNIT


def spans(*pairs):
    return tuple(
        Extent(offset=offset, length=length) for offset, length in pairs
    )


def pairs(found):
    return [(extent.offset, extent.length) for extent in found]


def some(seed, most=400):
    """Ranges that may overlap, within so many bytes."""
    dice = random.Random(seed)
    return spans(
        *(
            (dice.randrange(most), dice.randrange(1, most // 4))
            for _ in range(dice.randrange(12))
        )
    )


def taken(found):
    return {
        byte
        for extent in found
        for byte in range(extent.offset, extent.offset + extent.length)
    }


@ddt.ddt
class TestExtents(base.TestCase):
    def test_total(self):
        self.assertEqual(0, extents.total(()))
        self.assertEqual(7, extents.total(spans((0, 3), (9, 4))))

    @ddt.data(
        (0, extents.PIECE),
        (1, MIB),
        (MIB // 2, MIB),
        (MIB, 2 * MIB),
        (3 * MIB, 4 * MIB),
        (100 * MIB, extents.PIECE),
    )
    @ddt.unpack
    def test_a_limited_piece_is_small(self, rate, size):
        self.assertEqual(size, extents.piece_size(rate))

    @ddt.data(
        (0, 10, 4, 4),
        (2, 10, 4, 2),
        (4, 4, 4, None),
        (4, 3, 4, None),
        (7, 10, 4, 1),
        (0, 10, 100, None),
    )
    @ddt.unpack
    def test_a_cut_is_at_a_multiple(self, offset, length, size, first):
        whole = Extent(offset=offset, length=length)
        piece, rest = extents.cut(whole, size)
        if first is None:
            self.assertEqual((whole, None), (piece, rest))
            return
        self.assertEqual(
            [(offset, first), (offset + first, length - first)],
            pairs(filter(None, (piece, rest))),
        )
        self.assertEqual(0, (offset + first) % size)

    @ddt.data(*range(20))
    def test_joined_ranges_are_the_same_bytes(self, seed):
        given = some(seed)
        found = extents.joined(given)
        self.assertEqual(taken(given), taken(found))
        self.assertEqual(len(taken(given)), extents.total(found))
        for one, other in itertools.pairwise(found):
            self.assertLess(one.offset + one.length, other.offset)

    @ddt.data(*range(20))
    def test_the_outside_is_all_the_rest(self, seed):
        given = tuple(e for e in some(seed) if e.offset + e.length <= 400)
        found = extents.outside(400, given)
        self.assertEqual(set(range(400)) - taken(given), taken(found))
        self.assertEqual(len(taken(found)), extents.total(found))

    def test_units(self):
        self.assertEqual([], list(extents.units(0)))
        self.assertEqual(
            [(0, UNIT), (UNIT, UNIT), (2 * UNIT, 5)],
            pairs(extents.units(2 * UNIT + 5)),
        )

    def test_only_whole_units_are_covered(self):
        length = 3 * UNIT + 5
        given = spans((1, UNIT), (UNIT + 1, UNIT - 1), (2 * UNIT, UNIT - 1))
        self.assertEqual([(UNIT, UNIT)], pairs(extents.covered(length, given)))
        self.assertEqual(
            [(3 * UNIT, 5)],
            pairs(extents.covered(length, spans((3 * UNIT, 5)))),
        )
        self.assertEqual((), extents.covered(length, ()))
        # what is behind the end does not count
        whole = spans((0, 9 * UNIT))
        self.assertEqual(
            tuple(extents.units(length)), extents.covered(length, whole)
        )
        self.assertEqual((), extents.covered(0, whole))

    @ddt.data(0, 1, UNIT, 16 * UNIT)
    def test_a_small_image_is_its_own_sample(self, length):
        self.assertEqual(tuple(extents.units(length)), extents.sample(length))

    @ddt.data(17, 100, 12345)
    def test_a_sample_has_both_ends(self, number):
        found = extents.sample(number * UNIT - 1)
        self.assertEqual(16, len({extent.offset for extent in found}))
        self.assertEqual(0, found[0].offset)
        self.assertEqual(
            number * UNIT - 1, found[-1].offset + found[-1].length
        )

    @ddt.data((1, 0.26), (4, 0.30), (16, 0.47), (64, 1.13))
    @ddt.unpack
    def test_how_likely_a_sample_notices_a_hole(self, mib, percent):
        """In 100 GiB: computed, and measured with holes at random places."""
        length, hole = 100 << 30, mib << 20
        sampled = extents.sample(length)
        # of the first and the last unit, a hole touches one side only
        seen = sum(each.length + hole for each in sampled) - 2 * hole
        computed = 100 * seen / (length - hole)
        self.assertAlmostEqual(percent, computed, delta=0.01)
        chance = random.Random(mib)
        tried = 100_000
        met = sum(
            any(
                each.offset < at + hole and at < each.offset + each.length
                for each in sampled
            )
            for at in (chance.randrange(length - hole) for _n in range(tried))
        )
        self.assertAlmostEqual(percent, 100 * met / tried, delta=0.1)
