# SPDX-License-Identifier: Apache-2.0
"""An instance that leaves: what Nova's monitor sees, and what libvirt."""

import threading
import time
from typing import Any
from unittest import mock

import ddt
import fixtures
import libvirt
from nova import objects
from nova.virt.libvirt import guest as nova_guest
from nova.virt.libvirt import migration as nova_migration

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import live_migration
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

Outcome = live_migration.Outcome
State = states.State


class Moving:
    """An engine's migration that ends as it is told to."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = errors
        self.reversible = True
        self.aborts = 0

    def run(self) -> None:
        for error in self.errors:
            raise error

    def abort(self) -> bool:
        self.aborts += 1
        return self.reversible


def moving(*errors: BaseException) -> Any:
    return Moving(*errors)


def undone(cause: Exception) -> exception.MigrationUndone:
    error = exception.MigrationUndone(guest='guest', reason=cause)
    error.__cause__ = cause
    return error


ABORTED = undone(exception.Aborted(guest='guest'))
FAILED = undone(exception.JobFailed(disk='vda', reason='so'))
STUCK = exception.MigrationStuck(
    guest='guest', state='pivoting', reason='so.', path='/j'
)
REFUSED = exception.JobRunning(disk='vda', guest='guest')


def stats(kind: int) -> Any:
    return compat.JobInfo(type=kind, memory_total=5)


class DepartureTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.record = objects.Migration(id=1, status='running')
        self.saved: list[Any] = []
        self.fake(
            objects.Migration,
            'save',
            side_effect=lambda it: self.saved.append(
                (it.disk_total, it.disk_processed, it.disk_remaining)
            ),
        )
        self.leaving = live_migration.LiveMigration(self.record)
        # as of 2025.1 Nova imports libvirt when it has a guest, not before
        self.guest = nova_guest.Guest(Domain())

    def seen(self, kind=libvirt.VIR_DOMAIN_JOB_COMPLETED):
        """What the monitor sees while libvirt has a job of this kind."""
        domain = mock.create_autospec(nova_guest.Guest, instance=True)
        domain.get_job_info.return_value = stats(kind)
        return live_migration.WatchedGuest(domain, self.leaving).get_job_info()

    def note(self, state, done=None, total=1000):
        disks: tuple[model.DiskProgress, ...] = ()
        if done is not None:
            disks = (
                model.DiskProgress(
                    disk='vda', processed_bytes=done, total_bytes=total
                ),
            )
        self.leaving.note(progress.Progress(state=state, disks=disks))


@ddt.ddt
class TestOutcome(DepartureTestCase):
    @ddt.named_data(
        ('done', [], Outcome.DONE, libvirt.VIR_DOMAIN_JOB_COMPLETED),
        ('undone', [FAILED], Outcome.UNDONE, libvirt.VIR_DOMAIN_JOB_FAILED),
        ('refused', [REFUSED], Outcome.UNDONE, libvirt.VIR_DOMAIN_JOB_FAILED),
        (
            'aborted',
            [ABORTED],
            Outcome.ABORTED,
            libvirt.VIR_DOMAIN_JOB_CANCELLED,
        ),
    )
    @ddt.unpack
    def test_how_it_ended_is_what_novas_monitor_sees(
        self, errors, outcome, kind
    ):
        self.leaving.run(moving(*errors))
        self.assertIs(outcome, self.leaving.outcome)
        self.assertEqual(
            [str(e) for e in errors] or [''], [self.leaving.reason]
        )
        for error in errors:
            self.assertIn(str(error), self.log.output)
        self.assertTrue(self.leaving.wait(0))
        for real in (
            libvirt.VIR_DOMAIN_JOB_NONE,
            libvirt.VIR_DOMAIN_JOB_UNBOUNDED,
            libvirt.VIR_DOMAIN_JOB_COMPLETED,
        ):
            self.assertEqual(kind, self.seen(real).type)

    @ddt.data(STUCK, OSError('it broke'), exception.JournalError('full'))
    def test_stuck_is_an_error_that_ends_the_monitor(self, error):
        """So that Nova neither takes anything back nor cleans up."""
        self.leaving.run(moving(error))
        self.assertIs(Outcome.STUCK, self.leaving.outcome)
        raised = self.assertRaises(compat.MigrationError, self.seen)
        self.assertIn(str(error), str(raised))
        self.assertTrue(self.leaving.wait(0))
        self.assertIn('stuck', self.log.output)

    def test_refused_before_the_engine_began(self):
        self.leaving.refuse(REFUSED)
        self.assertEqual(libvirt.VIR_DOMAIN_JOB_FAILED, self.seen().type)
        self.assertEqual(str(REFUSED), self.leaving.reason)
        self.assertTrue(self.leaving.wait(0))

    def test_an_open_one_is_not_over_whatever_libvirt_says(self):
        """The guest leaves this host long before its disks do."""
        self.assertIs(Outcome.OPEN, self.leaving.outcome)
        self.assertFalse(self.leaving.wait(0))
        for state in State:
            self.note(state)
            for kind in (
                libvirt.VIR_DOMAIN_JOB_NONE,
                libvirt.VIR_DOMAIN_JOB_COMPLETED,
                libvirt.VIR_DOMAIN_JOB_FAILED,
                libvirt.VIR_DOMAIN_JOB_CANCELLED,
            ):
                seen = self.seen(kind)
                self.assertEqual(libvirt.VIR_DOMAIN_JOB_NONE, seen.type)

    def test_the_memory_of_the_switchover_is_shown(self):
        self.note(State.SWITCHING)
        self.assertTrue(self.leaving.switching)
        seen = self.seen(libvirt.VIR_DOMAIN_JOB_UNBOUNDED)
        self.assertEqual(libvirt.VIR_DOMAIN_JOB_UNBOUNDED, seen.type)
        self.assertEqual(5, seen.memory_total)

    @ddt.data(*(state for state in State if state is not State.SWITCHING))
    def test_no_other_job_is_shown(self, state):
        self.note(state)
        self.assertFalse(self.leaving.switching)
        seen = self.seen(libvirt.VIR_DOMAIN_JOB_UNBOUNDED)
        self.assertEqual(libvirt.VIR_DOMAIN_JOB_NONE, seen.type)

    def test_all_else_of_the_guest_is_novas(self):
        domain = mock.create_autospec(nova_guest.Guest, instance=True)
        domain.is_active.return_value = True
        watched = live_migration.WatchedGuest(domain, self.leaving)
        self.assertIs(True, watched.is_active())
        self.assertRaises(AttributeError, lambda: watched.no_such_thing)


class TestAbort(DepartureTestCase):
    def test_before_the_engine_began(self):
        """What came too early for it is told to it when it begins."""
        self.assertTrue(self.leaving.abort())
        it = moving(ABORTED)
        self.leaving.run(it)
        self.assertEqual(1, it.aborts)
        self.assertEqual(libvirt.VIR_DOMAIN_JOB_CANCELLED, self.seen().type)

    def test_nobody_asked(self):
        it = moving()
        self.leaving.run(it)
        self.assertEqual(0, it.aborts)

    def test_while_it_runs_it_is_the_engine_that_decides(self):
        it = moving()
        answers = []

        def run():
            answers.append(self.leaving.abort())
            it.reversible = False
            answers.append(self.leaving.abort())

        it.run = run
        self.leaving.run(it)
        self.assertEqual([True, False], answers)
        self.assertIs(Outcome.DONE, self.leaving.outcome)

    def test_whoever_waits_is_woken(self):
        began, go_on = threading.Event(), threading.Event()
        it = moving()

        def run():
            began.set()
            go_on.wait(30)

        it.run = run
        thread = threading.Thread(target=self.leaving.run, args=(it,))
        thread.start()
        self.addCleanup(thread.join, 30)
        self.addCleanup(go_on.set)
        self.assertTrue(began.wait(30))
        self.assertFalse(self.leaving.wait(0.01))
        go_on.set()
        self.assertTrue(self.leaving.wait(30))


@ddt.ddt
class TestFoundAtTheEnd(DepartureTestCase):
    """Nova saw a job that was not over, then that its thread had ended."""

    def setUp(self):
        super().setUp()
        # as of 2025.1 Nova imports it there when it has a connection
        self.useFixture(
            fixtures.MonkeyPatch(f'{nova_migration.__name__}.libvirt', libvirt)
        )

    def end(self, *errors):
        self.leaving.run(moving(*errors))
        guest = mock.create_autospec(nova_guest.Guest, instance=True)
        # as libvirt has it: gone from here
        guest.is_active.return_value = False
        return live_migration.WatchedGuest(guest, self.leaving)

    @ddt.data(
        ((), libvirt.VIR_DOMAIN_JOB_COMPLETED),
        ((FAILED,), libvirt.VIR_DOMAIN_JOB_FAILED),
        ((ABORTED,), libvirt.VIR_DOMAIN_JOB_FAILED),
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
            self.end(STUCK),
            objects.Instance(uuid=samples.UUID),
        )


class TestFigures(DepartureTestCase):
    """Nova's API shows how far the disks are."""

    def setUp(self):
        super().setUp()
        self.now = 1000.0
        self.fake(time, 'monotonic', side_effect=lambda: self.now)

    def test_what_is_saved(self):
        self.note(State.COPYING, 300)
        self.assertEqual([(1000, 300, 700)], self.saved)

    def test_once_in_each_interval(self):
        """However often the engine tells of it; Nova has 5 s for that."""
        for _each in range(30):
            self.note(State.COPYING, 300)
            self.now += 1
        self.assertEqual(6, len(self.saved))

    def test_at_once_in_a_new_state(self):
        self.note(State.COPYING, 300)
        self.note(State.COPYING, 400)
        self.note(State.READY, 1000)
        self.note(State.READY, 1000)
        self.assertEqual([(1000, 300, 700), (1000, 1000, 0)], self.saved)

    def test_nothing_before_there_is_something_to_tell(self):
        self.note(State.EXPORTING)
        self.note(State.SWITCHING)
        self.assertEqual([], self.saved)


class Domain:
    """A domain of libvirt-python that is told to migrate."""

    def __init__(self) -> None:
        self.migrated: list[tuple[str, dict[str, Any], int]] = []
        self.error: Exception | None = None

    def migrateToURI3(self, destination, params, flags):
        if self.error is not None:
            raise self.error
        self.migrated.append((destination, params, flags))

    @staticmethod
    def name():
        return 'instance-00000001'


HOME = samples.domain(
    samples.disk_xml('vda'),
    samples.disk_xml('vdb', '<source dev="/dev/disk/by-id/volume-here"/>'),
    samples.disk_xml('vdc', '<source dev="/dev/vg/more"/><backingStore/>'),
)
#: What Nova makes of it: the volume is elsewhere there, the rest is as here.
NOVAS = HOME.replace('volume-here', 'volume-there').replace(
    '<console type="pty"/>', '<console type="tcp"/>'
)
MOVES = (
    samples.move('vda', samples.image('/dev/vg/root')),
    samples.move('vdc', samples.image('/dev/vg/more')),
)
EXPORTS = {
    # what lies below its top layer is read over the network, too
    'vda': (samples.export('vda', 49216), samples.content('vda', 49218)),
    'vdc': (samples.export('vdc', 49217),),
}
REMOTE = domxml.point_at_exports(HOME, MOVES, EXPORTS)
DISKS = ('vda', 'vdc')


def away_from_exports(found):
    """The disks that moved which do not read all their exports."""
    return [
        move.disk
        for move in MOVES
        if not domxml.at_exports(found[move.disk], move, EXPORTS[move.disk])
    ]


@ddt.ddt
class TestTravellingGuest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.domain = Domain()
        self.guest = nova_guest.Guest(self.domain)

    def migrate(self, novas=NOVAS, remote=REMOTE, disks=DISKS, **more):
        given = {
            'migrate_uri': 'tcp://host-b',
            'flags': libvirt.VIR_MIGRATE_LIVE
            | libvirt.VIR_MIGRATE_NON_SHARED_INC,
            'migrate_disks': [],
            'bandwidth': 3,
            **more,
        }
        live_migration.TravellingGuest(self.guest, remote, disks).migrate(
            'qemu+tcp://host-b/system', destination_xml=novas, **given
        )

    def sent(self):
        ((destination, params, flags),) = self.domain.migrated
        self.assertEqual('qemu+tcp://host-b/system', destination)
        return params, flags

    def test_the_disks_that_move_point_at_their_exports(self):
        self.migrate()
        params, _flags = self.sent()
        for name in ('destination_xml', 'persistent_xml'):
            found = domxml.disks(params[name])
            self.assertEqual([], away_from_exports(found))

    def test_the_rest_is_as_nova_made_it(self):
        self.migrate()
        xml = self.sent()[0]['destination_xml']
        self.assertEqual(
            samples.image('/dev/disk/by-id/volume-there'),
            domxml.disks(xml)['vdb'].source,
        )
        self.assertIn('<console type="tcp"/>', xml)
        self.assertNotIn('<console type="pty"/>', xml)

    def test_what_is_passed_on(self):
        self.migrate()
        params, flags = self.sent()
        self.assertEqual('tcp://host-b', params['migrate_uri'])
        self.assertEqual(3, params['bandwidth'])
        self.assertTrue(flags & libvirt.VIR_MIGRATE_LIVE)

    def test_libvirt_is_told_that_it_is_safe(self):
        self.migrate()
        self.assertTrue(self.sent()[1] & libvirt.VIR_MIGRATE_UNSAFE)

    def test_libvirt_copies_no_disk(self):
        self.migrate()
        params, flags = self.sent()
        self.assertNotIn('migrate_disks', params)
        self.assertFalse(flags & libvirt.VIR_MIGRATE_NON_SHARED_INC)

    def test_without_flags(self):
        live_migration.TravellingGuest(self.guest, REMOTE, DISKS).migrate(
            'qemu+tcp://host-b/system', destination_xml=NOVAS
        )
        self.assertEqual(libvirt.VIR_MIGRATE_UNSAFE, self.sent()[1])

    def test_a_disk_that_is_missing_from_novas_xml(self):
        """It is never sent with less than all of its exports."""
        error = self.assertRaises(
            exception.SwitchoverError,
            self.migrate,
            novas=samples.domain(samples.disk_xml('vda')),
        )
        self.assertIn('vdc', str(error))
        self.assertEqual([], self.domain.migrated)

    def test_a_disk_that_does_not_arrive_in_the_xml(self):
        """Whatever went wrong: the guest stays where it is."""
        self.fake(domxml, 'restore_disks', side_effect=lambda xml, *_more: xml)
        error = self.assertRaises(exception.SwitchoverError, self.migrate)
        self.assertIn('vda', str(error))
        self.assertEqual([], self.domain.migrated)

    def test_a_layer_that_does_not_arrive_in_the_xml(self):
        for layer in ('export-of-vda', 'content-of-vda'):
            self.assertIn(layer, REMOTE)
            with mock.patch.object(
                domxml,
                'restore_disks',
                autospec=True,
                return_value=REMOTE.replace(layer, 'other'),
            ):
                error = self.assertRaises(
                    exception.SwitchoverError, self.migrate
                )
            self.assertIn('vda', str(error))
        self.assertEqual([], self.domain.migrated)

    def test_all_else_of_the_guest_is_novas(self):
        guest = live_migration.TravellingGuest(self.guest, REMOTE, DISKS)
        self.assertEqual('instance-00000001', guest.name)


@ddt.ddt
class TestSwitch(base.TestCase):
    def setUp(self):
        super().setUp()
        self.domain = Domain()
        self.cancelled = threading.Event()
        #: How often it had travelled when it was told that it had.
        self.arrived = []

    def operation(self, guest, device_names):
        """As Nova's is: it logs what happened and lets it through."""
        self.assertEqual([], device_names)
        guest.migrate('qemu+tcp://host-b/system', destination_xml=NOVAS)

    def switch(self, operation=None):
        live_migration.Switch(
            operation=operation or self.operation,
            guest=nova_guest.Guest(self.domain),
            disks=DISKS,
            arrived=lambda: self.arrived.append(len(self.domain.migrated)),
        )(REMOTE, '', self.cancelled)

    def test_the_guest_travels(self):
        self.switch()
        self.assertEqual([1], self.arrived)
        ((_uri, params, flags),) = self.domain.migrated
        found = domxml.disks(params['destination_xml'])
        self.assertEqual([], away_from_exports(found))
        self.assertTrue(flags & libvirt.VIR_MIGRATE_UNSAFE)

    @ddt.data(
        fakes.libvirt_error(message='no route'),
        compat.MigrationError(reason='no route'),
        KeyError('no route'),
    )
    def test_a_failure_of_novas_part(self, error):
        self.domain.error = error
        raised = self.assertRaises(exception.SwitchoverError, self.switch)
        self.assertIn('no route', str(raised))
        self.assertIn('instance-00000001', str(raised))
        self.assertIs(error, raised.__cause__)
        self.assertEqual([], self.arrived)

    def test_a_failure_after_somebody_asked_for_it(self):
        self.domain.error = fakes.libvirt_error(message='cancelled by client')
        self.cancelled.set()
        raised = self.assertRaises(exception.Aborted, self.switch)
        self.assertIn('instance-00000001', str(raised))

    def test_an_abort_that_came_too_late(self):
        """The guest is over there: what follows takes it back."""
        self.cancelled.set()
        self.switch()
        self.assertEqual(1, len(self.domain.migrated))
