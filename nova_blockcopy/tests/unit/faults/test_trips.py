# SPDX-License-Identifier: Apache-2.0
"""The plan of a soak: a seed repeats a run."""

import dataclasses
import itertools

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.tests.faults import acts
from nova_blockcopy.tests.faults import faults
from nova_blockcopy.tests.faults import options
from nova_blockcopy.tests.faults import trips
from nova_blockcopy.tests.unit import base


def plan(seed, count=200, **chosen):
    choice = trips.Choice(**chosen)
    return list(itertools.islice(trips.trips(seed, choice), count))


class TestPlan(base.TestCase):
    def test_a_seed_repeats_it(self):
        self.assertEqual(plan(7), plan(7))
        self.assertNotEqual(plan(7), plan(8))

    def test_it_does_not_depend_on_its_length(self):
        self.assertEqual(plan(7, 20), plan(7)[:20])

    def test_all_is_tried(self):
        found = plan(1, 600)
        self.assertEqual(set(trips.KINDS), {k for t in found for k in t.kinds})
        self.assertEqual({1, 2, 3}, {len(t.kinds) for t in found})
        names = {blow.name for trip in found for blow in trip.blows}
        wanted = {
            fault.name
            for fault in faults.FAULTS.values()
            if fault.usual and fault.name != 'none'
        }
        self.assertEqual(wanted | set(acts.ACTS), names)

    def test_a_fault_that_needs_other_hosts_is_not_tried(self):
        names = {b.name for trip in plan(1, 600) for b in trip.blows}
        for name in ('base-io-error', 'source-io-error', 'source-power'):
            self.assertFalse(faults.FAULTS[name].usual)
            self.assertNotIn(name, names)

    def test_each_fault_fits(self):
        known = {**faults.FAULTS, **acts.ACTS}
        for trip in plan(3):
            for blow in trip.blows:
                fault = known[blow.name]
                mode = model.Mode(trip.mode)
                self.assertTrue(fault.fits(mode, blow.state), trip)
                self.assertIn(fault.driver, ('', trip.driver))

    def test_a_guest_keeps_its_disks(self):
        for _guest, found in itertools.groupby(plan(5), lambda t: t.guest):
            self.assertEqual(1, len({trip.kinds for trip in found}))

    def test_no_faults(self):
        self.assertEqual({()}, {t.blows for t in plan(5, most_faults=0)})

    def test_one_fault_always(self):
        for trip in plan(5, most_faults=0, always='source'):
            self.assertEqual(
                [('source', states.State.SWITCHING)],
                [(blow.name, blow.state) for blow in trip.blows],
            )


class TestOptions(base.TestCase):
    def _choice(self, *argv):
        return options.choice(options.parser('').parse_args(argv))

    def test_defaults(self):
        self.assertEqual(
            dataclasses.asdict(trips.Choice()),
            dataclasses.asdict(self._choice()),
        )

    def test_chaos_has_no_faults(self):
        found = self._choice('--chaos', '--kind', 'raw', '--mode', 'direct')
        self.assertEqual(0, found.most_faults)
        self.assertEqual((trips.CHAOS,), found.writes)
        self.assertEqual(('raw',), found.kinds)
        self.assertEqual(['direct'], found.modes)

    def test_disturb(self):
        found = self._choice('--disturb', 'libvirtd', '--records')
        self.assertEqual('libvirtd-stands-still', found.always)
        self.assertEqual((trips.RECORDS,), found.writes)
