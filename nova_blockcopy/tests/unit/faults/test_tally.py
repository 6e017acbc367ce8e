# SPDX-License-Identifier: Apache-2.0
"""The tally of a soak tells when something was lost."""

import dataclasses
import itertools
import json

import ddt

from nova_blockcopy.tests.faults import tally
from nova_blockcopy.tests.faults import trips
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit.faults import test_verdict

TRIP = next(trips.trips(0, trips.Choice()))
GOOD = tally.Leg(
    trip=TRIP,
    way='a to b',
    seconds=1.0,
    struck=('source',),
    seen=test_verdict.THERE,
)


def leg(struck=('source',), **fields):
    seen = dataclasses.replace(test_verdict.THERE, **fields)
    return dataclasses.replace(GOOD, seen=seen, struck=struck)


LOST = dataclasses.replace(test_verdict.GOOD, missing=2)


@ddt.ddt
class TestLeg(base.TestCase):
    def test_a_good_one(self):
        self.assertFalse(GOOD.bad)
        self.assertEqual('done', json.loads(GOOD.line())['outcome'])

    @ddt.data(
        {'verdicts': (LOST,)},
        {'changed': ('vda',)},
        {'doubled': True},
        {'at': ('source', 'destination')},
        {'startable': 'no'},
        {'writes': False},
        {'closed': False},
    )
    def test_a_bad_one(self, fields):
        self.assertTrue(leg(**fields).bad)

    @ddt.data(('source', True), ('foreign-suspend', False), ('pause', False))
    @ddt.unpack
    def test_a_fault_explains_a_stuck_migration(self, name, explained):
        found = leg(struck=(name,), ended='stuck', settled='destination')
        self.assertTrue(found.stuck)
        self.assertIs(not explained, found.inexplicable)

    def test_no_fault_explains_one_that_is_never_settled(self):
        self.assertTrue(leg(closed=False).inexplicable)

    def test_litter_is_told_only(self):
        found = leg(litter=('a file',))
        self.assertFalse(found.bad)
        self.assertEqual(('Litter: a file.',), found.problems)


class TestTally(base.TestCase):
    def test_all_is_counted(self):
        legs = [
            GOOD,
            leg(ended='killed', settled='source'),
            leg(ended='stuck', settled='source'),
            leg(ended='stuck', settled='source', struck=('pause',)),
            leg(closed=False),
            leg(verdicts=(LOST,), doubled=True),
            leg(ended='undone', litter=('a file',)),
            dataclasses.replace(GOOD, seen=None, broken='OSError'),
        ]
        found = json.loads(tally.tally(7, legs))
        self.assertEqual(
            {
                'seed': 7,
                'migrations': 8,
                'done': 2,
                'undone': 4,
                'refused': 0,
                'stuck, explained': 1,
                'stuck, unexplained': 2,
                'lost': 1,
                'records lost': 2,
                'doubled': 1,
                'other problems': 2,
                'broken': 1,
            },
            found,
        )

    def test_none(self):
        counts = json.loads(tally.tally(0, itertools.repeat(GOOD, 0)))
        self.assertEqual(0, counts['migrations'])
