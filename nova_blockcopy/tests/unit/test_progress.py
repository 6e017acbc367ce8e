# SPDX-License-Identifier: Apache-2.0
"""Figures, rate and time left, by a clock of the test's own."""

import dataclasses

from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.tests.unit import base

COPYING = states.State.COPYING


def disk(name='vda', processed=0, total=1000, **more):
    return model.DiskProgress(
        disk=name, processed_bytes=processed, total_bytes=total, **more
    )


class TestProgress(base.TestCase):
    def test_the_sum_over_all_disks(self):
        now = progress.Progress(
            state=COPYING,
            disks=(disk('vda', 200, 1000), disk('vdb', 100, 500)),
            rate=60.0,
        )
        self.assertEqual(300, now.processed_bytes)
        self.assertEqual(1500, now.total_bytes)
        self.assertEqual(1200, now.remaining_bytes)
        self.assertEqual(20.0, now.time_left_s)

    def test_nothing_left_takes_no_time(self):
        done = progress.Progress(state=COPYING, disks=(disk('vda', 9, 9),))
        self.assertEqual(0.0, done.time_left_s)

    def test_without_a_rate_the_time_is_unknown(self):
        now = progress.Progress(state=COPYING, disks=(disk(),))
        self.assertIsNone(now.time_left_s)

    def test_in_words(self):
        mib = 2**20
        now = progress.Progress(
            state=COPYING, disks=(disk('vda', 3 * mib, 9 * mib),)
        )
        self.assertEqual('copying, 3 of 9 MiB, 0.0 MiB/s', str(now))
        now = dataclasses.replace(now, rate=2 * mib)
        self.assertEqual('copying, 3 of 9 MiB, 2.0 MiB/s, 3 s left', str(now))


class TestMeter(base.TestCase):
    def setUp(self):
        super().setUp()
        self.now = 100.0
        self.meter = progress.Meter(lambda: self.now)

    def read(self, *disks, after=0.0):
        self.now += after
        return self.meter.read(COPYING, disks)

    def test_the_first_figures_have_no_rate(self):
        self.assertEqual(0.0, self.read(disk(processed=500)).rate)

    def test_bytes_by_seconds(self):
        self.read(disk(processed=0))
        self.assertEqual(50.0, self.read(disk(processed=100), after=2).rate)

    def test_the_rate_is_of_the_last_seconds_only(self):
        self.read(disk(processed=0))
        self.read(disk(processed=900), after=1)
        self.read(disk(processed=901), after=4)
        self.assertEqual(1.0, self.read(disk(processed=905), after=1).rate)

    def test_a_rate_is_never_negative(self):
        self.read(disk(processed=500, total=1000))
        self.assertEqual(
            0.0, self.read(disk(processed=400, total=1000), after=1).rate
        )

    def test_what_is_counted_anew_is_added(self):
        self.read(disk(processed=900, total=1000))
        self.read(disk(processed=1000, total=1000))
        self.read(disk(processed=0, total=200))
        now = self.read(disk(processed=50, total=200))
        self.assertEqual(1050, now.processed_bytes)
        self.assertEqual(150, now.remaining_bytes)
        self.read(disk(processed=0, total=30))
        now = self.read(disk(processed=30, total=30, ready=True))
        self.assertEqual(1080, now.processed_bytes)
        self.assertEqual(0, now.remaining_bytes)

    def test_the_present_state_and_all_disks(self):
        self.read(disk('vda', 1))
        now = self.meter.read(states.State.READY, [disk('vdb', 2)])
        self.assertEqual(states.State.READY, now.state)
        self.assertEqual((disk('vda', 1), disk('vdb', 2)), now.disks)

    def test_figures_that_end_with_the_job_are_kept(self):
        self.read(disk(processed=1000, total=1000))
        over = model.DiskProgress(disk='vda', ready=True, pivoted=True)
        now = self.read(over)
        self.assertEqual(
            (disk('vda', 1000, 1000, ready=True, pivoted=True),), now.disks
        )

    def test_a_proven_pivot_left_nothing_to_copy(self):
        self.read(disk('vda', 990), disk('vdb', 10, 40))
        now = self.meter.read(states.State.RELEASING, ())
        self.assertEqual((1040, 1040), (now.processed_bytes, now.total_bytes))
        self.assertEqual(100, now.percent)

    def test_a_disk_that_grows_replaces_its_figures(self):
        self.read(disk(processed=10, total=1000))
        now = self.read(disk(processed=20, total=2000))
        self.assertEqual(1980, now.remaining_bytes)

    def test_each_disk_has_a_rate_of_its_own(self):
        self.read(disk('vda', 0), disk('vdb', 500))
        now = self.read(disk('vda', 100), disk('vdb', 500), after=2)
        self.assertEqual({'vda': 50.0, 'vdb': 0.0}, now.rates)
        self.assertEqual(18.0, now.time_left_of(now.disks[0]))
        self.assertIsNone(now.time_left_of(now.disks[1]))
