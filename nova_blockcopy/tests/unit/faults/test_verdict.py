# SPDX-License-Identifier: Apache-2.0
"""The verdict on a migration tells right from wrong."""

import dataclasses

import ddt
import testtools

from nova_blockcopy.tests.faults import verdict
from nova_blockcopy.tests.lab import records
from nova_blockcopy.tests.unit import base

GOOD = records.Verdict(disk='vda', written=9, missing=0, wrong=0)
THERE = verdict.Evidence(
    ended=verdict.DONE,
    authority=verdict.DESTINATION,
    at=(verdict.DESTINATION,),
    defined=(verdict.DESTINATION,),
    verdicts=(GOOD,),
)
BACK = verdict.Evidence(ended=verdict.UNDONE, verdicts=(GOOD,))


@ddt.ddt
class TestProblems(base.TestCase):
    @ddt.data(THERE, BACK)
    def test_a_good_end_has_none(self, seen):
        self.assertEqual([], verdict.problems(seen))
        self.assertFalse(seen.lost)

    @ddt.data(
        ({'closed': False, 'reason': 'because'}, 'not settled: because'),
        ({'at': ('source', 'destination')}, 'active on both'),
        ({'doubled': True}, 'ran on both'),
        ({'at': ('source',)}, 'gave the authority to the destination'),
        ({'defined': ('source', 'destination')}, 'defined on the source'),
        ({'at': ()}, 'has ended'),
        ({'at': (), 'may_be_off': True, 'startable': 'no'}, 'not start: no'),
        ({'elsewhere': ('vdb',)}, 'vdb'),
        ({'changed': ('vda',)}, 'Data of vda changed'),
        ({'litter': ('a file',)}, 'Litter: a file'),
        ({'errors': ('e a 7 5',)}, 'e a 7 5'),
        ({'writes': False}, 'does not write'),
        ({'paused': True}, 'stays paused'),
        ({'wanted_paused': True}, 'its owner paused it'),
        ({'again': 'refused'}, 'next migration failed: refused'),
        ({'ended': 'crashed', 'reason': 'KeyError'}, 'raised KeyError'),
    )
    @ddt.unpack
    def test_each_is_told(self, fields, words):
        found = verdict.problems(dataclasses.replace(THERE, **fields))
        self.assertThat(found, testtools.matchers.HasLength(1))
        self.assertIn(words, found[0])

    def test_lost_records(self):
        bad = dataclasses.replace(GOOD, missing=3, wrong=2)
        seen = dataclasses.replace(BACK, verdicts=(GOOD, bad))
        self.assertTrue(seen.lost)
        self.assertEqual(
            ['3 records of vda are missing and 2 are wrong, of 9.'],
            verdict.problems(seen),
        )

    def test_a_guest_whose_disks_fail_may_see_errors(self):
        seen = dataclasses.replace(
            BACK, errors=('e a 7 5',), may_see_errors=True
        )
        self.assertEqual([], verdict.problems(seen))

    def test_a_guest_that_was_killed_may_be_off(self):
        seen = dataclasses.replace(BACK, at=(), may_be_off=True)
        self.assertEqual([], verdict.problems(seen))

    def test_an_owner_may_have_paused_it(self):
        seen = dataclasses.replace(BACK, paused=True, wanted_paused=True)
        self.assertEqual([], verdict.problems(seen))


@ddt.ddt
class TestOutcome(base.TestCase):
    @ddt.data(
        ({'ended': 'done'}, 'done'),
        ({'ended': 'refused'}, 'refused'),
        ({'ended': 'killed', 'settled': 'source'}, 'killed, then undone'),
        ({'ended': 'stuck', 'settled': 'destination'}, 'stuck, then done'),
        ({'ended': 'killed', 'closed': False}, 'stuck'),
        ({'ended': 'undone', 'met': False}, '(undone)'),
    )
    @ddt.unpack
    def test_it_has_a_name(self, fields, name):
        seen = verdict.Evidence(**fields)
        self.assertEqual(name, verdict.outcome(seen))
