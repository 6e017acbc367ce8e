# SPDX-License-Identifier: Apache-2.0
"""What a soak comes to: it tells when something was lost."""

import ddt

from nova_blockcopy.tests.lab import contents
from nova_blockcopy.tests.lab import records
from nova_blockcopy.tests.lab import tally
from nova_blockcopy.tests.unit import base


def verdict(missing=0, wrong=0):
    return records.Verdict(
        disk='vda', written=100, missing=missing, wrong=wrong
    )


DIFFERENCE = contents.Difference(
    disk='vda',
    differing_bytes=512,
    first_offset=65536,
    wanted=b'\x01',
    found=b'\x00',
)
GOOD = tally.Leg(ended=tally.DONE, inspected=True, verdicts=(verdict(),))


@ddt.ddt
class TestLeg(base.TestCase):
    def test_nothing_is_lost(self):
        self.assertFalse(GOOD.lost)
        self.assertIn('equal', str(GOOD))

    def test_one_that_was_taken_back_lost_nothing(self):
        leg = tally.Leg(
            ended=tally.UNDONE, verdicts=(verdict(),), trouble=('because',)
        )
        self.assertFalse(leg.lost)
        self.assertIn('because', str(leg))
        self.assertNotIn('equal', str(leg))

    @ddt.data(
        {'verdicts': (verdict(), verdict(missing=1))},
        {'verdicts': (verdict(wrong=1), verdict())},
        {'differences': (DIFFERENCE,)},
        {'crashes': ('QEMU crashed on host b: Assertion',)},
        {'silent': True},
    )
    def test_something_is_lost(self, found):
        for ended in (tally.DONE, tally.UNDONE):
            self.assertTrue(tally.Leg(ended=ended, **found).lost)

    def test_a_difference_is_described(self):
        leg = tally.Leg(
            ended=tally.DONE, inspected=True, differences=(DIFFERENCE,)
        )
        self.assertIn('the first at 65536', str(leg))
        self.assertNotIn('equal', str(leg))


class TestSummary(base.TestCase):
    def test_all_is_counted(self):
        bad = tally.Leg(
            ended=tally.UNDONE,
            differences=(DIFFERENCE, DIFFERENCE),
            verdicts=(verdict(missing=2), verdict(wrong=3)),
            crashes=('QEMU crashed',),
            silent=True,
        )
        self.assertEqual(
            '3 migrations: 2 done, 1 undone, 0 stuck; 2 inspected; crashes '
            'of QEMU 1, differing bytes 1024, records missing 2, wrong 3, '
            'silent guests 1',
            tally.summary([GOOD, bad, GOOD]),
        )

    def test_none_is_none(self):
        self.assertIn('0 migrations', tally.summary([]))
