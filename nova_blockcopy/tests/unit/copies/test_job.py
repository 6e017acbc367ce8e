#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""One copy: started once, pivoted with proof, aborted in time."""

import ddt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.copies import job
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

MOVE = samples.move()
SETTINGS = model.CopySettings(bandwidth=77)


@ddt.ddt
class TestCopyJob(base.TestCase):
    def setUp(self):
        super().setUp()
        self.machine = fakes.Machine(samples.domain(samples.disk_xml()))
        self.driver = fakes.Driver(self.machine)
        here = fakes.Connection(self.machine).hypervisor('host-b')
        guest = here.guest(samples.UUID)
        self.job = job.CopyJob(self.driver, guest, MOVE)

    def refused(self, kind, call, *arguments):
        error = self.assertRaises(kind, call, *arguments)
        self.assertIs(kind, type(error))
        self.assertIn('vda', str(error))
        return str(error)

    def start_ready(self):
        self.machine.pace = fakes.TOTAL
        self.job.start(SETTINGS)
        self.assertTrue(self.job.look().ready)

    def test_started_twice_is_started_once(self):
        self.job.start(SETTINGS)
        self.job.start(SETTINGS)
        self.assertEqual([('vda', MOVE.base)], self.machine.started)
        self.assertEqual([('vda', SETTINGS)], self.driver.settings)

    def test_what_has_pivoted_is_not_started(self):
        self.start_ready()
        self.job.pivot(30)
        self.job.start(SETTINGS)
        self.assertEqual(1, len(self.machine.started))

    def test_how_far_it_is(self):
        self.job.start(SETTINGS)
        self.assertEqual(
            model.DiskProgress(
                disk='vda', processed_bytes=500, total_bytes=fakes.TOTAL
            ),
            self.job.look(),
        )
        self.assertTrue(self.job.look().ready)
        self.assertFalse(self.job.look().pivoted)

    def test_a_job_that_is_gone_did_not_succeed(self):
        self.start_ready()
        self.machine.jobs.clear()
        said = self.refused(exception.JobFailed, self.job.look)
        self.assertIn(MOVE.base.path, said)

    def test_a_pivot_is_proven(self):
        self.start_ready()
        self.assertFalse(self.job.at_base())
        self.job.pivot(30)
        self.assertTrue(self.job.at_base())
        self.assertEqual(
            model.DiskProgress(disk='vda', ready=True, pivoted=True),
            self.job.look(),
        )
        self.job.pivot(30)

    def test_a_pivot_that_is_not_ready_is_tried_again(self):
        refusals = [1, 2]

        def on_pivot(disk):
            if refusals:
                refusals.pop()
                raise exception.NotReady(disk=disk)

        self.start_ready()
        self.machine.on_pivot = on_pivot
        self.job.pivot(30)
        self.assertEqual([], refusals)
        self.assertTrue(self.job.at_base())

    def test_a_pivot_that_is_never_ready(self):
        self.machine.pace = 0
        self.job.start(SETTINGS)
        self.refused(exception.NotReady, self.job.pivot, 0.01)
        self.assertIn('vda', self.machine.jobs)

    def test_a_pivot_that_lost_its_job(self):
        self.start_ready()
        self.machine.lost.add('vda')
        self.refused(exception.JobFailed, self.job.pivot, 30)
        self.assertFalse(self.job.at_base())

    def test_a_pivot_that_does_not_end(self):
        self.start_ready()
        self.machine.stays.add('vda')
        self.refused(exception.DriverTimeout, self.job.pivot, 0.01)

    def test_an_abort_leaves_the_guest_where_it_was(self):
        before = self.machine.xml
        self.start_ready()
        self.job.abort(30)
        self.assertEqual({}, self.machine.jobs)
        self.assertEqual(before, self.machine.xml)
        self.job.abort(30)

    def test_an_abort_that_comes_too_late(self):
        self.start_ready()
        self.job.pivot(30)
        self.refused(exception.TooLate, self.job.abort, 30)

    def test_an_abort_that_does_not_end(self):
        self.start_ready()
        self.machine.stays.add('vda')
        self.refused(exception.DriverTimeout, self.job.abort, 0.01)

    def test_a_commit_goes_into_what_lies_below(self):
        below = samples.image('/dev/below')
        here = fakes.Connection(self.machine).hypervisor('host-b')
        commit = job.CommitJob(
            self.driver, here.guest(samples.UUID), 'vda', below
        )
        for _time in range(2):
            commit.start(SETTINGS)
        self.assertEqual([('vda', below)], self.machine.started)
        self.assertEqual([77], self.machine.speeds['vda'])
        self.assertTrue(self.machine.jobs['vda'].commit)
        self.assertTrue(commit.look().ready)
        commit.pivot(30)
        self.assertTrue(commit.at_base())
        commit.start(SETTINGS)
        self.assertEqual(1, len(self.machine.started))

    def test_a_commit_that_is_gone(self):
        commit = job.CommitJob(
            self.driver,
            fakes.Connection(self.machine).hypervisor('b').guest('guest'),
            'vda',
            samples.image('/dev/below'),
        )
        said = self.refused(exception.JobFailed, commit.look)
        self.assertIn('/dev/below could not be written', said)

    @ddt.data(0, 5)
    def test_its_speed(self, speed):
        self.job.start(SETTINGS)
        self.job.set_speed(speed)
        self.assertEqual([77, speed], self.machine.speeds['vda'])
