# SPDX-License-Identifier: Apache-2.0
"""Waiting ends: by an answer, by time, or by being cancelled."""

import itertools
import threading

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.unit import base


class TestUntil(base.TestCase):
    def answers(self, *values):
        """Gives one answer after the other, and counts the questions."""
        self.asked = 0
        left = list(values)

        def condition():
            self.asked += 1
            return left.pop(0) if len(left) > 1 else left[0]

        return condition

    def test_a_true_answer_ends_it(self):
        condition = self.answers(False, False, True)
        self.assertIs(
            True, waiting.until(condition, timeout=30, interval=0.001)
        )
        self.assertEqual(3, self.asked)

    def test_it_asks_at_least_once(self):
        self.assertTrue(waiting.until(self.answers(True), timeout=0))
        self.assertFalse(waiting.until(self.answers(False), timeout=0))
        self.assertEqual(1, self.asked)

    def test_time_ends_it(self):
        condition = self.answers(False)
        self.assertIs(
            False, waiting.until(condition, timeout=0.05, interval=0.001)
        )
        self.assertGreater(self.asked, 1)

    def test_cancelled_beforehand_it_asks_once(self):
        cancelled = threading.Event()
        cancelled.set()
        self.assertFalse(
            waiting.until(self.answers(False), timeout=30, cancelled=cancelled)
        )
        self.assertEqual(1, self.asked)

    def test_cancelling_ends_a_long_sleep(self):
        cancelled = threading.Event()

        def condition():
            threading.Timer(0.01, cancelled.set).start()
            return False

        # the test's own time limit is shorter than this interval
        self.assertFalse(
            waiting.until(
                condition, timeout=9000, interval=3000, cancelled=cancelled
            )
        )

    def test_an_error_is_not_an_answer(self):
        def condition():
            raise KeyError('x')

        self.assertRaises(KeyError, waiting.until, condition, timeout=30)


class TestPauses(base.TestCase):
    def first(self, longest, count):
        return list(itertools.islice(waiting.pauses(longest), count))

    def test_they_grow_up_to_the_longest(self):
        self.assertEqual(
            [0.05, 0.0625, 0.078125, 0.09, 0.09], self.first(0.09, 5)
        )

    def test_none_is_longer_than_the_longest(self):
        self.assertEqual([0.01, 0.01], self.first(0.01, 2))
