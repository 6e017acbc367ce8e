# SPDX-License-Identifier: Apache-2.0
"""How long the window will be, and whether another round helps."""

import ddt

from nova_blockcopy import forecast
from nova_blockcopy.tests.unit import base

MIB = 2**20
Advice = forecast.Advice


def left(mib, rate=1):
    return forecast.Forecast(delta_bytes=mib * MIB, rate=rate * MIB)


@ddt.ddt
class TestForecast(base.TestCase):
    @ddt.data((0, 0, 0.0), (0, 5, 0.0), (10, 5, 2.0), (1, 0, None))
    @ddt.unpack
    def test_the_window(self, mib, rate, seconds):
        self.assertEqual(seconds, left(mib, rate).window_s)

    def test_in_words(self):
        self.assertEqual(
            '10.0 MiB are left, 2.0 s at 5.0 MiB/s', str(left(10, 5))
        )
        self.assertEqual(
            '10.0 MiB are left, at a rate that is not known', str(left(10, 0))
        )

    @ddt.data(
        # bytes, seconds, before, expected
        (100 * MIB, 10.0, 0.0, 10 * MIB),
        (100 * MIB, 10.0, 7.0, 10 * MIB),
        # too short to tell
        (MIB, 10.0, 7.0, 7.0),
        (100 * MIB, 0.01, 7.0, 7.0),
        (MIB, 0.0, 0.0, 10 * MIB),
        (0, 10.0, 0.0, 0.0),
    )
    @ddt.unpack
    def test_the_rate_of_a_round(self, moved, elapsed, before, expected):
        self.assertAlmostEqual(
            expected, forecast.rate(moved, elapsed, before), 3
        )

    @ddt.data(
        (left(10), None, 4, 20, Advice.SWITCH),
        (left(10), left(5), 0, 20, Advice.SWITCH),
        (left(11), None, 4, 20, Advice.AGAIN),
        (left(11), left(12), 4, 20, Advice.AGAIN),
        (left(11), left(11), 4, 20, Advice.SHORTFALL),
        (left(11), left(5), 4, 20, Advice.SHORTFALL),
        (left(11), left(12), 0, 20, Advice.SHORTFALL),
        # nothing has been moved yet, so there is nothing to go by
        (left(1, 0), None, 1, 20, Advice.SWITCH),
        (left(1, 0), left(1), 0, 20, Advice.SWITCH),
        # a round that is short against those before leaves much less
        (left(4), None, 4, 60, Advice.AGAIN),
        (left(4), None, 0, 60, Advice.SWITCH),
        (left(4), None, 4, 40, Advice.SWITCH),
        (left(1, 20), None, 4, 60, Advice.SWITCH),
    )
    @ddt.unpack
    def test_advice(self, now, before, rounds, spent, expected):
        self.assertIs(
            expected,
            forecast.advise(
                *(now, before),
                longest=10.0,
                rounds_left=rounds,
                spent_s=spent,
            ),
        )
