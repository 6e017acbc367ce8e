# SPDX-License-Identifier: Apache-2.0
"""The copies of one guest: one limit, one deadline, one end."""

import dataclasses
import threading

from nova_blockcopy import bandwidth
from nova_blockcopy import exception
from nova_blockcopy import mirror
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.copies import group
from nova_blockcopy.copies import job
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

MIB = bandwidth.MIB
DISKS = ('vda', 'vdb')
LIMITS = mirror.Limits(granularity=512, reason='', synchronous=True)


class TestCopyGroup(base.TestCase):
    def setUp(self):
        super().setUp()
        self.machine = fakes.Machine(
            samples.domain(*map(samples.remote_xml, DISKS))
        )
        self.driver = fakes.Driver(self.machine)
        here = fakes.Connection(self.machine).hypervisor('host-b')
        self.guest = here.guest(samples.UUID)
        self.cancelled = threading.Event()
        self.reports = []
        self.done = []

    def group(self, limit=0, **overrides):
        jobs = [
            job.CopyJob(
                *(self.driver, self.guest, samples.move(disk)),
                *(model.Mode.DIRECT, lambda: LIMITS),
            )
            for disk in DISKS
        ]
        # limits that may not be configured, to lose no time in tests
        settings = dataclasses.replace(self.settings(), **overrides)
        return group.CopyGroup(self.driver, self.guest, jobs, settings, limit)

    def follow(self, copies):
        copies.follow(self.cancelled, self.watch)

    def watch(self, state, disks):
        self.reports.append(progress.Progress(state=state, disks=disks))

    def refused(self, kind, call, *arguments):
        error = self.assertRaises(kind, call, *arguments)
        self.assertIs(kind, type(error))
        return str(error)

    def speeds(self):
        return {disk: self.machine.jobs[disk].bandwidth for disk in DISKS}

    def at_base(self):
        return [
            disk for disk in DISKS if f'/dev/new/{disk}' in self.machine.xml
        ]

    def ready_group(self, **overrides):
        self.machine.pace = fakes.TOTAL
        copies = self.group(**overrides)
        copies.start()
        self.follow(copies)
        return copies

    def test_it_is_followed_until_all_are_ready(self):
        copies = self.group()
        copies.start()
        self.follow(copies)
        self.assertEqual(states.State.COPYING, self.reports[0].state)
        self.assertEqual(states.State.READY, self.reports[-1].state)
        self.assertEqual(0, self.reports[-1].remaining_bytes)
        self.assertEqual(2 * fakes.TOTAL, self.reports[-1].processed_bytes)

    def test_started_twice_is_started_once(self):
        copies = self.group()
        copies.start()
        copies.start()
        self.assertEqual(2, len(self.machine.started))

    def test_its_begin_is_waited_for(self):
        self.machine.unbegun = 5
        copies = self.group()
        copies.start()
        copies.wait_for_begin()
        self.assertEqual(0, self.machine.unbegun)
        # not for more than that
        self.assertFalse(all(j.ready for j in self.machine.jobs.values()))

    def test_what_has_pivoted_or_is_empty_has_begun(self):
        self.ready_group()
        self.machine.pivot('vda')
        self.machine.jobs['vdb'].total = 0
        # another group, which has not started these jobs
        self.group(call_timeout=0.05).wait_for_begin()

    def test_one_that_does_not_begin(self):
        self.machine.unbegun = 10**9
        copies = self.group(call_timeout=0.05)
        copies.start()
        said = self.refused(exception.JobFailed, copies.wait_for_begin)
        self.assertIn('not begun', said)

    def test_one_that_is_gone_before_it_begins(self):
        self.machine.unbegun = 10**9
        copies = self.group()
        copies.start()
        del self.machine.jobs['vdb']
        said = self.refused(exception.JobFailed, copies.wait_for_begin)
        self.assertIn('vdb', said)

    def test_the_limit_is_shared_from_the_start(self):
        self.group(limit=20 * MIB).start()
        self.assertEqual(
            {'vda': [10 * MIB], 'vdb': [10 * MIB]}, self.machine.speeds
        )

    def test_a_limited_copy_has_less_in_flight(self):
        self.group(limit=20 * MIB).start()
        for _disk, settings in self.driver.settings:
            self.assertEqual(bandwidth.buffer(10 * MIB), settings.buf_size)

    def test_a_buffer_that_was_set_stays(self):
        self.group(limit=20 * MIB, buf_size=12345).start()
        self.assertEqual(
            [12345, 12345],
            [settings.buf_size for _disk, settings in self.driver.settings],
        )

    def test_the_limit_shifts_to_who_needs_it(self):
        self.machine.pace = 0
        copies = self.group(limit=20 * MIB)
        copies.start()
        copies.look()
        # unchanged speeds are not set again
        self.assertEqual([10 * MIB], self.machine.speeds['vda'])
        self.machine.jobs['vda'].processed = fakes.TOTAL
        copies.look()
        speeds = self.speeds()
        self.assertGreater(speeds['vdb'], 15 * MIB)
        self.assertGreater(speeds['vda'], 0)
        self.assertLessEqual(sum(speeds.values()), 20 * MIB)

    def test_a_disk_that_has_pivoted_needs_nothing(self):
        copies = self.ready_group(limit=20 * MIB)
        self.machine.pivot('vda')
        copies.look()
        self.assertEqual(20 * MIB, self.machine.jobs['vdb'].bandwidth)

    def test_the_limit_can_be_changed_and_lifted(self):
        self.machine.pace = 0
        copies = self.group()
        copies.start()
        self.assertEqual({'vda': 0, 'vdb': 0}, self.speeds())
        copies.set_limit(4 * MIB)
        copies.look()
        self.assertEqual({'vda': 2 * MIB, 'vdb': 2 * MIB}, self.speeds())
        copies.set_limit(0)
        copies.look()
        self.assertEqual({'vda': 0, 'vdb': 0}, self.speeds())

    def test_a_job_that_is_gone_ends_it(self):
        copies = self.group()
        copies.start()
        del self.machine.jobs['vdb']
        self.assertIn(
            'vdb', self.refused(exception.JobFailed, self.follow, copies)
        )

    def test_standing_still_ends_it(self):
        self.machine.pace = 0
        copies = self.group(stall_timeout=0)
        copies.start()
        said = self.refused(exception.JobFailed, self.follow, copies)
        self.assertIn('stall_timeout', said)

    def test_taking_too_long_ends_it(self):
        def touch(state, disks):
            self.watch(state, disks)
            # never still, never ready
            for one in self.machine.jobs.values():
                one.processed = len(self.reports) % 100

        self.machine.pace = 0
        copies = self.group(ready_timeout=0.02)
        copies.start()
        said = self.refused(
            exception.JobFailed, copies.follow, self.cancelled, touch
        )
        self.assertIn('ready_timeout', said)

    def test_on_request_it_ends(self):
        self.machine.pace = 0
        copies = self.group()
        copies.start()
        said = self.refused(
            exception.Aborted,
            copies.follow,
            self.cancelled,
            lambda _state, _disks: self.cancelled.set(),
        )
        self.assertIn('guest', said)

    def test_all_pivot_and_each_is_told_of(self):
        copies = self.ready_group()
        copies.pivot(self.done.append)
        self.assertEqual(list(DISKS), self.done)
        self.assertEqual(list(DISKS), self.at_base())
        copies.pivot(self.done.append)
        self.assertEqual(list(DISKS), self.done)

    def test_a_pivot_that_only_some_have_passed_goes_on(self):
        copies = self.ready_group()
        self.machine.lost.add('vdb')
        self.refused(exception.JobFailed, copies.pivot, self.done.append)
        self.assertEqual(['vda'], self.done)
        self.assertEqual(['vda'], self.at_base())
        self.machine.lost.clear()
        copies.start()
        self.follow(copies)
        copies.pivot(self.done.append)
        self.assertEqual(list(DISKS), self.done)
        self.assertEqual(list(DISKS), self.at_base())
        self.assertEqual(
            ['vda', 'vdb', 'vdb'],
            [disk for disk, _base in self.machine.started],
        )

    def test_one_deadline_for_all(self):
        self.machine.pace = 0
        copies = self.group(pivot_timeout=0.01)
        copies.start()
        self.refused(exception.NotReady, copies.pivot, self.done.append)
        self.assertEqual([], self.done)

    def test_an_abort_goes_on_after_a_failure(self):
        def on_abort(disk):
            if disk == 'vda':
                raise exception.DriverError(
                    action='abort', disk=disk, reason='it broke'
                )

        copies = self.ready_group()
        self.machine.on_abort = on_abort
        said = self.refused(exception.DriverError, copies.abort)
        self.assertIn('it broke', said)
        self.assertEqual(['vda'], list(self.machine.jobs))
        self.machine.on_abort = lambda _disk: None
        copies.abort()
        self.assertEqual({}, self.machine.jobs)
