# SPDX-License-Identifier: Apache-2.0
"""An instance that leaves: what Nova's monitor sees."""

import threading
from typing import Any
from unittest import mock

import ddt
import fixtures
import libvirt
from nova import objects
from nova.virt.libvirt import guest as nova_guest
from nova.virt.libvirt import migration as nova_migration

from nova_blockcopy import exception
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.nova import action_event
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import figures
from nova_blockcopy.nova import live_migration
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import guests
from nova_blockcopy.tests.nova import migrations
from nova_blockcopy.tests.unit import samples

Outcome = live_migration.Outcome
State = states.State


def stats(kind: int) -> Any:
    return compat.JobInfo(type=kind, memory_total=5)


class MonitoredTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.figures = mock.create_autospec(figures.Figures, instance=True)
        self.figures.add_to.side_effect = lambda job: job
        self.event = mock.create_autospec(
            action_event.ActionEvent, instance=True
        )
        self.live_migration = self.make()
        # as of 2025.1 Nova imports libvirt when it has a guest, not before
        self.guest = nova_guest.Guest(guests.Domain())

    def make(self):
        return live_migration.LiveMigration(self.figures, self.event)

    def seen(self, kind=libvirt.VIR_DOMAIN_JOB_COMPLETED):
        """What the monitor sees while libvirt has a job of this kind."""
        domain = mock.create_autospec(nova_guest.Guest, instance=True)
        domain.get_job_info.return_value = stats(kind)
        return live_migration.WatchedGuest(
            domain, self.live_migration
        ).get_job_info()

    def seen_in(self, state, kind):
        """Whether it is switching in a state, and what the monitor sees."""
        found = []

        def look(_migration):
            found.append((self.live_migration.switching, self.seen(kind)))

        self.live_migration = self.make()
        running: Any = migrations.ActingMigration(look)
        running.state = state
        self.live_migration.run(running)
        return found[0]


@ddt.ddt
class TestOutcome(MonitoredTestCase):
    @ddt.named_data(
        ('done', [], Outcome.DONE, libvirt.VIR_DOMAIN_JOB_COMPLETED),
        (
            'undone',
            [migrations.FAILED],
            Outcome.UNDONE,
            libvirt.VIR_DOMAIN_JOB_FAILED,
        ),
        (
            'refused',
            [migrations.REFUSED],
            Outcome.UNDONE,
            libvirt.VIR_DOMAIN_JOB_FAILED,
        ),
        (
            'aborted',
            [migrations.ABORTED],
            Outcome.ABORTED,
            libvirt.VIR_DOMAIN_JOB_CANCELLED,
        ),
    )
    @ddt.unpack
    def test_how_it_ended_is_what_novas_monitor_sees(
        self, errors, outcome, kind
    ):
        self.live_migration.run(migrations.ending(*errors))
        self.assertIs(outcome, self.live_migration.outcome)
        self.assertEqual([*errors] or [None], [self.live_migration.error])
        self.event.end.assert_called_once_with(self.live_migration.error)
        for error in errors:
            self.assertIn(str(error), self.log.output)
        self.assertTrue(self.live_migration.wait(0))
        for real in (
            libvirt.VIR_DOMAIN_JOB_NONE,
            libvirt.VIR_DOMAIN_JOB_UNBOUNDED,
            libvirt.VIR_DOMAIN_JOB_COMPLETED,
        ):
            self.assertEqual(kind, self.seen(real).type)

    @ddt.data(
        migrations.STUCK, OSError('it broke'), exception.JournalError('full')
    )
    def test_stuck_is_an_error_that_ends_the_monitor(self, error):
        """So that Nova neither takes anything back nor cleans up."""
        self.live_migration.run(migrations.ending(error))
        self.assertIs(Outcome.STUCK, self.live_migration.outcome)
        raised = self.assertRaises(compat.MigrationError, self.seen)
        self.assertIn(str(error), str(raised))
        self.assertTrue(self.live_migration.wait(0))
        self.assertIn('stuck', self.log.output)

    def test_refused_before_the_engine_began(self):
        self.live_migration.refuse(migrations.REFUSED)
        self.assertEqual(libvirt.VIR_DOMAIN_JOB_FAILED, self.seen().type)
        self.event.end.assert_called_once_with(migrations.REFUSED)
        self.assertTrue(self.live_migration.wait(0))

    def test_an_open_one_is_not_over_whatever_libvirt_says(self):
        """The guest leaves this host long before its disks do."""
        self.assertIs(Outcome.OPEN, self.live_migration.outcome)
        self.assertFalse(self.live_migration.wait(0))
        for state in State:
            for kind in (
                libvirt.VIR_DOMAIN_JOB_NONE,
                libvirt.VIR_DOMAIN_JOB_COMPLETED,
                libvirt.VIR_DOMAIN_JOB_FAILED,
                libvirt.VIR_DOMAIN_JOB_CANCELLED,
            ):
                _switching, seen = self.seen_in(state, kind)
                self.assertEqual(libvirt.VIR_DOMAIN_JOB_NONE, seen.type)

    def test_the_memory_of_the_switchover_is_shown(self):
        switching, seen = self.seen_in(
            State.SWITCHING, libvirt.VIR_DOMAIN_JOB_UNBOUNDED
        )
        self.assertTrue(switching)
        self.assertEqual(libvirt.VIR_DOMAIN_JOB_UNBOUNDED, seen.type)
        self.assertEqual(5, seen.memory_total)
        self.figures.add_to.assert_called_once_with(seen)

    @ddt.data(*(state for state in State if state is not State.SWITCHING))
    def test_no_other_job_is_shown(self, state):
        switching, seen = self.seen_in(state, libvirt.VIR_DOMAIN_JOB_UNBOUNDED)
        self.assertFalse(switching)
        self.assertEqual(libvirt.VIR_DOMAIN_JOB_NONE, seen.type)

    def test_a_report_steers_nothing(self):
        """The state is that of the migration, not that of its last report."""
        self.live_migration.note(progress.Progress(state=State.SWITCHING))
        self.assertFalse(self.live_migration.switching)
        seen = self.seen(libvirt.VIR_DOMAIN_JOB_UNBOUNDED)
        self.assertEqual(libvirt.VIR_DOMAIN_JOB_NONE, seen.type)

    def test_all_else_of_the_guest_is_novas(self):
        domain = mock.create_autospec(nova_guest.Guest, instance=True)
        domain.is_active.return_value = True
        watched = live_migration.WatchedGuest(domain, self.live_migration)
        self.assertIs(True, watched.is_active())
        self.assertRaises(AttributeError, lambda: watched.no_such_thing)


class TestAbort(MonitoredTestCase):
    def test_before_the_engine_began(self):
        """What came too early for it is told to it when it begins."""
        self.assertTrue(self.live_migration.abort())
        it = migrations.ending(migrations.ABORTED)
        self.live_migration.run(it)
        self.assertEqual(1, it.aborts)
        self.assertEqual(libvirt.VIR_DOMAIN_JOB_CANCELLED, self.seen().type)

    def test_nobody_asked(self):
        it = migrations.ending()
        self.live_migration.run(it)
        self.assertEqual(0, it.aborts)

    def test_while_it_runs_it_is_the_engine_that_decides(self):
        it = migrations.ending()
        answers = []

        def run():
            answers.append(self.live_migration.abort())
            it.reversible = False
            answers.append(self.live_migration.abort())

        it.run = run
        self.live_migration.run(it)
        self.assertEqual([True, False], answers)
        self.assertIs(Outcome.DONE, self.live_migration.outcome)

    def test_whoever_waits_is_woken(self):
        began, go_on = threading.Event(), threading.Event()
        it = migrations.ending()

        def run():
            began.set()
            go_on.wait(30)

        it.run = run
        thread = threading.Thread(target=self.live_migration.run, args=(it,))
        thread.start()
        self.addCleanup(thread.join, 30)
        self.addCleanup(go_on.set)
        self.assertTrue(began.wait(30))
        self.assertFalse(self.live_migration.wait(0.01))
        go_on.set()
        self.assertTrue(self.live_migration.wait(30))


@ddt.ddt
class TestFoundAtTheEnd(MonitoredTestCase):
    """Nova saw a job that was not over, then that its thread had ended."""

    def setUp(self):
        super().setUp()
        # as of 2025.1 Nova imports it there when it has a connection
        self.useFixture(
            fixtures.MonkeyPatch(f'{nova_migration.__name__}.libvirt', libvirt)
        )

    def end(self, *errors):
        self.live_migration.run(migrations.ending(*errors))
        guest = mock.create_autospec(nova_guest.Guest, instance=True)
        # as libvirt has it: gone from here
        guest.is_active.return_value = False
        return live_migration.WatchedGuest(guest, self.live_migration)

    @ddt.data(
        ((), libvirt.VIR_DOMAIN_JOB_COMPLETED),
        ((migrations.FAILED,), libvirt.VIR_DOMAIN_JOB_FAILED),
        ((migrations.ABORTED,), libvirt.VIR_DOMAIN_JOB_FAILED),
    )
    @ddt.unpack
    def test_it_is_what_the_engine_says(self, errors, kind):
        self.assertEqual(
            kind,
            nova_migration.find_job_type(
                self.end(*errors), objects.Instance(uuid=samples.UUID)
            ),
        )

    def test_a_stuck_one_has_not_arrived(self):
        self.assertRaises(
            compat.MigrationError,
            nova_migration.find_job_type,
            self.end(migrations.STUCK),
            objects.Instance(uuid=samples.UUID),
        )
