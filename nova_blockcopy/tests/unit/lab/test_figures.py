# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the benchmark."""

import ddt

from nova_blockcopy import states
from nova_blockcopy.tests.lab import figures
from nova_blockcopy.tests.unit import base

BEGAN: dict[states.State, float] = {
    states.State.PREPARING: 0.0,
    states.State.SEEDING: 1.0,
    states.State.SWITCHING: 5.0,
    states.State.COPYING: 7.0,
    states.State.PIVOTING: 8.0,
    states.State.RELEASING: 10.0,
}


class TestStates(base.TestCase):
    def test_the_window_is_from_the_copy_to_the_release(self):
        self.assertEqual(3.0, figures.window(BEGAN))

    def test_it_is_unknown_of_a_migration_that_did_not_get_there(self):
        self.assertIsNone(figures.window({}))
        self.assertIsNone(figures.window({states.State.COPYING: 1.0}))
        self.assertIsNone(figures.window({states.State.RELEASING: 1.0}))

    def test_a_state_lasts_until_the_next_one(self):
        # in whatever order they are given
        found = figures.phases(dict(reversed(list(BEGAN.items()))))
        self.assertEqual(4.0, found[states.State.SEEDING])
        self.assertEqual(2.0, found[states.State.PIVOTING])
        self.assertNotIn(states.State.RELEASING, found)
        self.assertEqual(10.0, sum(found.values()))


@ddt.ddt
class TestFinding(base.TestCase):
    @ddt.data(
        (1.5, 1.5, False, True),
        (1.51, 1.5, False, False),
        (0.95, 0.95, True, True),
        (0.949, 0.95, True, False),
    )
    @ddt.unpack
    def test_a_bound_is_kept_on_its_own_side(self, value, bound, least, met):
        found = figures.Finding(
            name='it', value=value, bound=bound, at_least=least
        )
        self.assertIs(met, found.met)

    def test_it_says_what_was_wanted(self):
        found = figures.Finding(name='it', value=2, bound=1.5)
        self.assertEqual('it: 2, wanted <= 1.5', str(found))


class TestRatios(base.TestCase):
    def test_spread(self):
        self.assertEqual(3, figures.spread(iter([2.0, 6.0, 3.0])))
        self.assertEqual(1, figures.spread([2.0]))

    def test_headers_leave_less_than_a_link_has(self):
        self.assertEqual(119_550_859, round(figures.line_rate(1000)))

    def test_a_full_link_is_a_share_of_one(self):
        self.assertEqual(1, figures.share(250e6, 2, 1000))
        self.assertAlmostEqual(
            0.956, figures.share(figures.line_rate(100), 1, 100), places=3
        )
