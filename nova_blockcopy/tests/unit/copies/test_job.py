# SPDX-License-Identifier: Apache-2.0
"""One copy: started once, pivoted with proof, aborted in time."""

import dataclasses

import ddt

from nova_blockcopy import exception
from nova_blockcopy import mirror
from nova_blockcopy import model
from nova_blockcopy.copies import job
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

MOVE = samples.move()
SETTINGS = model.CopySettings(bandwidth=77)
DIRECT, SEEDED = model.Mode.DIRECT, model.Mode.SEEDED
LAYERED = samples.move(
    source=samples.layered('/old', '/below'),
    base=samples.layered('/new', '/mine'),
)
MINE = LAYERED.base.backing
#: With all its layers, into a base without any.
WHOLE = dataclasses.replace(samples.move(source=LAYERED.source), whole=True)
#: The same of a disk that has one layer only.
ONLY = dataclasses.replace(MOVE, whole=True)
FROZEN = samples.content()


class JobTestCase(base.TestCase):
    limits = mirror.Limits(
        granularity=512, reason='it takes any', synchronous=True
    )

    def make(self, below=None, move=MOVE, mode=DIRECT):
        """A copy of a guest whose disk has this below its top layer."""
        self.machine = fakes.Machine(
            samples.domain(samples.remote_xml('vda', below))
        )
        self.driver = fakes.Driver(self.machine)
        self.here = fakes.Connection(self.machine).hypervisor('host-b')
        self.looked = 0

        def look():
            self.looked += 1
            return self.limits

        self.job = job.CopyJob(
            *(self.driver, self.here.guest(samples.UUID), move, mode),
            look,
        )

    def refused(self, kind, call, *arguments):
        error = self.assertRaises(kind, call, *arguments)
        self.assertIs(kind, type(error))
        self.assertIn('vda', str(error))
        return str(error)


@ddt.ddt
class TestCopyJob(JobTestCase):
    def setUp(self):
        super().setUp()
        self.make()

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
        commit = job.CommitJob(
            self.driver, self.here.guest(samples.UUID), 'vda', below
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
            self.here.guest('guest'),
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


@ddt.ddt
class TestLayers(JobTestCase):
    """libvirt copies something else where the layers are not as planned."""

    @ddt.named_data(
        ('one layer', MOVE, DIRECT, None),
        ('one layer, but all', ONLY, DIRECT, None),
        ('the same layers below', LAYERED, DIRECT, MINE),
        ('all layers', WHOLE, DIRECT, FROZEN),
        ('one layer, seeded', MOVE, SEEDED, FROZEN),
        ('one layer, but all, seeded', ONLY, SEEDED, FROZEN),
        ('layers, seeded', LAYERED, SEEDED, FROZEN),
        ('all layers, seeded', WHOLE, SEEDED, FROZEN),
    )
    @ddt.unpack
    def test_a_copy_of_what_was_sent_is_started(self, move, mode, below):
        self.make(below, move, mode)
        self.job.start(SETTINGS)
        ((_disk, settings),) = self.driver.settings
        # all of a disk is copied where nothing of it is in the base
        whole = move.whole and mode is DIRECT
        self.assertIs(not whole, settings.shallow)
        self.assertIs(
            below is not None and not whole, self.machine.jobs['vda'].shallow
        )

    @ddt.named_data(
        ('one layer with another below', MOVE, DIRECT, FROZEN),
        ('one layer with a local one below', MOVE, DIRECT, MINE),
        ('nothing below', LAYERED, DIRECT, None),
        ('another local one', LAYERED, DIRECT, samples.image('/mine')),
        (
            'one more layer',
            LAYERED,
            DIRECT,
            samples.layered('/mine', '/more'),
        ),
        ('a remote one', LAYERED, DIRECT, FROZEN),
        ('a local one of all', WHOLE, DIRECT, MINE),
        ('one layer of all', WHOLE, DIRECT, None),
        ('another one below all', ONLY, DIRECT, MINE),
        ('nothing below the delta', MOVE, SEEDED, None),
        ('nothing below the delta of layers', LAYERED, SEEDED, None),
        ('nothing below the delta of all', WHOLE, SEEDED, None),
        ('the backing file of the base', LAYERED, SEEDED, MINE),
        ('a local one below the delta', MOVE, SEEDED, MINE),
    )
    @ddt.unpack
    def test_one_of_something_else_is_not(self, move, mode, below):
        self.make(below, move, mode)
        self.assert_not_started()

    @ddt.data(
        *(
            (move, mode)
            for move in (MOVE, LAYERED, WHOLE)
            for mode in (DIRECT, SEEDED)
        )
    )
    @ddt.unpack
    def test_a_disk_that_is_local_is_not_copied(self, move, mode):
        local = dataclasses.replace(
            samples.layered('/local', '/x'), backing=move.base.backing
        )
        for disk in (
            samples.disk_xml(),
            samples.disk_xml('vda', '', device='cdrom'),
        ):
            self.make(move=move, mode=mode)
            self.machine.xml = samples.domain(disk)
            self.assert_not_started()
        self.machine.xml = fakes.with_source(
            samples.domain(samples.disk_xml()), 'vda', local
        )
        self.assert_not_started()

    def assert_not_started(self):
        for _time in range(2):
            said = self.refused(exception.JobFailed, self.job.start, SETTINGS)
            self.assertIn('host-b', said)
            self.assertIn('has changed its disk', said)
        self.assertEqual([], self.machine.started)

    def test_what_runs_or_has_pivoted_is_not_looked_at_again(self):
        self.make(FROZEN, MOVE, SEEDED)
        self.machine.pace = fakes.TOTAL
        self.job.start(SETTINGS)
        self.machine.xml = samples.domain(samples.remote_xml())
        self.job.start(SETTINGS)
        self.job.look()
        self.job.pivot(30)
        self.job.start(SETTINGS)
        self.assertEqual(1, len(self.machine.started))
        self.assertEqual(1, self.looked)


@ddt.ddt
class TestSettings(JobTestCase):
    """A copy is started as its base allows."""

    def start(self, least=512, synchronous=True, **wanted):
        self.limits = mirror.Limits(
            granularity=least,
            reason='it must not pad',
            synchronous=synchronous,
        )
        self.make()
        self.job.start(model.CopySettings(**wanted))
        ((_disk, settings),) = self.driver.settings
        return settings

    @ddt.data(
        (512, 512, 512),
        (512, 4096, 4096),
        (4096, 512, 4096),
        (4096, 4096, 4096),
        (65536, 4096, 65536),
        # what is left to QEMU stays so
        (0, 512, 0),
        (0, 65536, 0),
    )
    @ddt.unpack
    def test_the_granularity(self, wanted, least, expected):
        settings = self.start(least, granularity=wanted)
        self.assertEqual(expected, settings.granularity)
        if wanted == expected:
            self.assertNotIn('granularity', self.log.output)
            return
        for part in ('vda', f'granularity {expected}', 'not pad'):
            self.assertIn(part, self.log.output)

    @ddt.data(False, True)
    def test_guest_writes_wait_where_they_may(self, wanted):
        for may in (False, True):
            settings = self.start(synchronous=may, synchronous_writes=wanted)
            self.assertIs(wanted and may, settings.synchronous_writes)

    def test_all_else_is_as_it_is_wanted(self):
        self.assertEqual(
            model.CopySettings(granularity=4096, buf_size=3, bandwidth=5),
            self.start(4096, buf_size=3, bandwidth=5),
        )
