# SPDX-License-Identifier: Apache-2.0
"""Nova's API shows how far the disks are, from Nova's database."""

import threading
import time
from typing import Any

import fixtures
import libvirt
import oslo_messaging
from nova import objects
from nova.virt.libvirt import migration as nova_migration

from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import figures
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import sqlite
from nova_blockcopy.tests.unit import samples

State = states.State


class FiguresTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.now = 1000.0
        # Nova 31 imports libvirt when it connects
        self.useFixture(
            fixtures.MonkeyPatch('nova.virt.libvirt.guest.libvirt', libvirt)
        )
        self.fake(time, 'monotonic', side_effect=lambda: self.now)
        self.nova = self.useFixture(sqlite.NovasDatabase(self.directory))
        #: Nova's own record, which Nova saves too.
        self.record = self.nova.migration
        self.figures = figures.Figures(
            self.record, self.nova.context, samples.UUID
        )

    def note(self, state, done=None, total=1000, *, wait=True):
        disks: tuple[model.DiskProgress, ...] = ()
        if done is not None:
            disks = (
                model.DiskProgress(
                    disk='vda', processed_bytes=done, total_bytes=total
                ),
            )
        self.figures.update(progress.Progress(state=state, disks=disks))
        if wait:
            self.wait_for_figures()


class TestSaved(FiguresTestCase):
    def test_in_each_phase(self):
        for state, done, total in (
            (State.SEEDING, 300, 1000),
            (State.COPYING, 1020, 1100),
            (State.PIVOTING, 1100, 1100),
        ):
            self.note(state, done, total)
            self.assertEqual(
                (100 * done // total, total, done, total - done),
                self.nova.figures(),
            )

    def test_novas_own_record_is_left_alone(self):
        """Nova saves it in another thread at the same time."""
        self.record.obj_reset_changes()
        self.note(State.COPYING, 300)
        self.assertEqual({}, self.record.obj_get_changes())

    def test_novas_own_figures_do_not_stay(self):
        """Nova's monitor saves those of the memory."""
        self.note(State.SEEDING, 1000)
        job = compat.JobInfo(memory_total=10, memory_remaining=8)
        instance = self.nova.instance()
        nova_migration.save_stats(instance, self.record, job, 80)
        self.assertEqual((20, 0, 0, 0), self.nova.figures())
        self.note(State.COPYING, 1000)
        self.assertEqual((100, 1000, 1000, 0), self.nova.figures())

    def test_the_bytes_stay_during_the_switchover(self):
        self.note(State.SEEDING, 900)
        job = compat.JobInfo(memory_total=10, memory_remaining=8)
        nova_migration.save_stats(
            *(self.nova.instance(), self.record),
            *(self.figures.add_to(job), 80),
        )
        self.assertEqual((20, 1000, 900, 100), self.nova.figures())

    def test_not_after_nova_has_ended_its_part(self):
        """A save may be late, and would stay for ever."""
        instance = self.nova.instance()
        instance.task_state = None
        instance.progress = 0
        instance.save()
        self.note(State.SETTLED, 900)
        self.assertEqual(0, self.nova.instance().progress)


class TestWhen(FiguresTestCase):
    """How often the database is written to."""

    def setUp(self):
        super().setUp()
        self.saved: list[Any] = []
        self.save = self.fake(
            objects.Migration,
            'save',
            side_effect=lambda it: self.saved.append(it.disk_processed),
        )
        self.percents: list[int] = []
        self.save_instance = self.fake(
            objects.Instance,
            'save',
            side_effect=lambda it, **_more: self.percents.append(it.progress),
        )

    def test_once_in_each_interval(self):
        """However often the engine tells of it; Nova has 5 s for that."""
        for _each in range(30):
            self.note(State.COPYING, 300)
            self.now += 1
        self.assertEqual(6, len(self.saved))
        self.assertEqual(6, len(self.percents))

    def test_at_once_in_a_new_state(self):
        self.note(State.COPYING, 300)
        self.note(State.COPYING, 400)
        self.note(State.READY, 1000)
        self.note(State.READY, 1000)
        self.assertEqual([300, 1000], self.saved)
        self.assertEqual([30, 100], self.percents)

    def test_nothing_before_there_is_something_to_tell(self):
        self.note(State.EXPORTING)
        self.note(State.SWITCHING)
        self.assertEqual([], self.saved)
        self.assertEqual([], self.percents)

    def test_the_engine_does_not_wait_for_the_conductor(self):
        """In the remote window, each second counts."""
        begun, answers = threading.Event(), threading.Event()
        self.addCleanup(answers.set)

        def save(it):
            begun.set()
            answers.wait(5)
            self.saved.append(it.disk_processed)

        self.save.side_effect = save
        self.note(State.COPYING, 300, wait=False)
        self.assertTrue(begun.wait(30))
        self.note(State.READY, 400, wait=False)
        self.note(State.PIVOTING, 500, wait=False)
        self.assertEqual([], self.saved)
        answers.set()
        self.wait_for_figures()
        # the latest of those that came meanwhile
        self.assertEqual([300, 500], self.saved)

    def test_a_save_that_fails(self):
        """The other one is tried all the same, and so are the next ones."""
        usual = self.save.side_effect
        self.save.side_effect = oslo_messaging.MessagingTimeout
        self.note(State.COPYING, 300)
        self.save.side_effect = usual
        self.save_instance.side_effect = oslo_messaging.MessagingTimeout
        self.note(State.READY, 1000)
        self.assertEqual([1000], self.saved)
        self.assertEqual([30], self.percents)
