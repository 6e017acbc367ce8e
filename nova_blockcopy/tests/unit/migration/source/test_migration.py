# SPDX-License-Identifier: Apache-2.0
"""One migration: order, undo, and what can be asked of it meanwhile."""

import shutil
import threading

import ddt
import fixtures

from nova_blockcopy import bandwidth
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import qemu_conf
from nova_blockcopy.migration.source import itinerary
from nova_blockcopy.migration.source import modes
from nova_blockcopy.migration.source import steps
from nova_blockcopy.records import journal
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.migration import world

State = states.State
MIB = bandwidth.MIB
#: All steps but the last one, which nothing takes back.
STEPS = modes.ORDER[model.Mode.DIRECT][:-1]
REVERSIBLE = [
    s for s in states.way(model.Mode.DIRECT) if s in states.REVERSIBLE
]


class Step(steps.Step):
    """A step that only notes what is done; it can fail either way."""

    def __init__(self, state, ledger, log, failures):
        self.state = state  # type: ignore[misc]
        if self.state is State.RELEASING:
            self.authority = model.Role.DESTINATION  # type: ignore[misc]
        self._ledger = ledger
        self._log = log
        self._failures = failures

    def execute(self):
        self._act(f'do {self.state}')
        if self.state is State.COPYING:
            self._ledger.note(State.READY)

    def undo(self):
        self._act(f'undo {self.state}')

    def _act(self, name):
        self._log.append(name)
        if name in self._failures:
            raise self._failures[name]


def broken(reason='it broke'):
    return exception.ExportError(path='x', reason=reason)


@ddt.ddt
class TestOrder(world.WorldTestCase):
    """The steps themselves do nothing here."""

    disks = ('vda',)

    def setUp(self):
        super().setUp()
        self.acts: list[str] = []
        self.failures: dict[str, BaseException] = {}
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{itinerary.__name__}.steps_of',
                lambda parts: {
                    state: Step(state, parts.ledger, self.acts, self.failures)
                    for state in (*STEPS, State.RELEASING)
                },
            )
        )

    def test_all_are_done_once_in_order(self):
        self.migration().run()
        self.assertEqual(
            [f'do {state}' for state in (*STEPS, 'releasing')], self.acts
        )
        self.assertIsNone(self.record('a'))

    @ddt.data(*range(len(STEPS)))
    def test_a_failure_undoes_what_was_begun_in_reverse(self, number):
        begun = STEPS[: number + 1]
        self.failures[f'do {begun[-1]}'] = broken()
        error = self.undone()
        self.assertIn('it broke', str(error))
        self.assertIs(self.failures[f'do {begun[-1]}'], error.__cause__)
        self.assertEqual(
            [
                *(f'do {state}' for state in begun),
                *(f'undo {state}' for state in reversed(begun)),
            ],
            self.acts,
        )

    def test_the_journal_is_held_for_the_caller(self):
        migration = self.migration(held=True, memo={'of': ['the caller']})
        migration.run()
        record = self.record('a')
        self.assertEqual('settled', record.state)
        self.assertEqual(model.Role.DESTINATION, record.authority)
        self.assertEqual({'of': ['the caller']}, record.memo)
        self.assertEqual('settled', self.seen[-1])
        migration.close()
        self.assertIsNone(self.record('a'))

    @ddt.data(*range(len(STEPS)))
    def test_it_is_held_after_an_undo_too(self, number):
        self.failures[f'do {STEPS[number]}'] = broken()
        migration = self.migration(held=True)
        self.refused(exception.MigrationUndone, migration.run)
        record = self.record('a')
        self.assertEqual('settled', record.state)
        self.assertEqual(model.Role.SOURCE, record.authority)
        self.assertFalse(record.aborted)

    def test_a_held_journal_says_that_somebody_asked_for_the_undo(self):
        migration = self.migration(held=True)
        migration.abort()
        self.refused(exception.MigrationUndone, migration.run)
        self.assertEqual('settled', self.record('a').state)
        self.assertTrue(self.record('a').aborted)

    @ddt.data(KeyboardInterrupt(), SystemExit(1), RuntimeError('odd'))
    def test_whatever_fails_all_is_put_back(self, error):
        self.failures['do copying'] = error
        self.undone()
        self.assertEqual('undo preparing', self.acts[-1])

    @ddt.data(*range(len(STEPS)))
    def test_a_failed_undo_stops_the_others(self, number):
        self.failures['do pivoting'] = broken('no pivot.')
        self.failures[f'undo {STEPS[number]}'] = broken('no undo.')
        error = self.stuck()
        self.assertEqual(f'undo {STEPS[number]}', self.acts[-1])
        for part in ('no pivot', 'no undo', 'pivoting', 'guest'):
            self.assertIn(part, str(error))
        record = self.record('a')
        self.assertIn('"nova-blockcopy settle guest"', str(error))
        self.assertIn('no undo', record.history[-1].note)
        self.assertEqual(model.Role.SOURCE, record.authority)

    def test_after_the_pivot_the_others_disks_are_the_authority(self):
        self.failures['do releasing'] = broken()
        self.failures['undo releasing'] = broken('never.')
        self.stuck()
        self.assertEqual(model.Role.DESTINATION, self.record('a').authority)
        self.assertEqual('releasing', self.record('a').history[-2].state)
        self.assertEqual('undo releasing', self.acts[-1])

    def test_a_refusal_at_the_first_step_is_what_it_is(self):
        refusal = exception.Refused('no')
        self.failures['do preparing'] = refusal
        error = self.refused(exception.Refused, self.migration().run)
        self.assertIs(refusal, error)
        self.assert_untouched()
        self.assertEqual(['do preparing', 'undo preparing'], self.acts)

    def test_a_refusal_later_on_is_an_undone_migration(self):
        self.failures['do exporting'] = exception.Refused('no')
        self.undone()

    def test_a_refusal_that_cannot_be_undone_is_stuck(self):
        self.failures['do preparing'] = exception.Refused('no')
        self.failures['undo preparing'] = broken()
        self.stuck()

    def test_it_can_be_done_in_parts(self):
        migration = self.migration()
        record = migration.run(State.SWITCHING)
        self.assertEqual(State.SWITCHING, record.state)
        self.assertEqual('do switching', self.acts[-1])
        migration.run(State.COPYING)
        self.assertEqual('do copying', self.acts[-1])
        self.assertIsNotNone(self.record('a'))
        migration.run()
        self.assertEqual(6, len(self.acts))
        self.assertIsNone(self.record('a'))

    def test_its_state_is_that_of_its_record(self):
        migration = self.migration()
        self.assertIs(State.PREPARING, migration.state)
        migration.run(State.SWITCHING)
        self.assertIs(State.SWITCHING, migration.state)

    def test_an_abort_between_two_parts(self):
        migration = self.migration()
        migration.run(State.COPYING)
        self.assertTrue(migration.abort())
        error = self.refused(exception.MigrationUndone, migration.run)
        self.assertIsInstance(error.__cause__, exception.Aborted)
        self.assertEqual('undo preparing', self.acts[-1])
        self.assertNotIn('do pivoting', self.acts)

    def test_an_abort_before_the_first_step(self):
        migration = self.migration()
        self.assertTrue(migration.abort())
        self.refused(exception.MigrationUndone, migration.run)
        self.assertEqual([], self.acts)
        self.assert_untouched()

    def test_an_abort_after_the_pivot_began(self):
        migration = self.migration()
        migration.run(State.PIVOTING)
        self.assertFalse(migration.abort())
        migration.run()
        self.assertEqual('do releasing', self.acts[-1])


@ddt.ddt
class TestAbort(world.WorldTestCase):
    @ddt.data(*REVERSIBLE)
    def test_before_the_pivot_all_is_taken_back(self, state):
        answers = []
        self.when(state, lambda: answers.append(self.running.abort()))
        error = self.undone()
        self.assertEqual([True], answers)
        self.assertIsInstance(error.__cause__, exception.Aborted)
        self.assertNotIn('pivot', self.asked)

    @ddt.data('pivoting', 'releasing', 'ended')
    def test_after_it_the_answer_is_no(self, state):
        answers = []
        self.when(state, lambda: answers.append(self.running.abort()))
        self.migration().run()
        self.assertEqual([False], answers)
        self.assert_arrived()


class TestHalfPivoted(world.WorldTestCase):
    def test_a_copy_that_dies_after_another_pivoted_is_made_again(self):
        def on_pivot(disk):
            machine = self.b.machines[samples.UUID]
            begun = [target for target, _settings in machine.started]
            if disk == 'vda' and begun.count('vdb') == 1:
                machine.jobs.pop('vdb')

        self.arriving(on_pivot=on_pivot)
        self.migration().run()
        self.assert_arrived()

    def test_a_copy_whose_pivot_is_refused_is_made_again(self):
        """The source sees first that the exports run."""
        begun: list[str] = []

        def on_pivot(disk):
            machine = self.b.machines[samples.UUID]
            begun[:] = [target for target, _settings in machine.started]
            if disk == 'vdb' and begun.count('vdb') == 1:
                raise exception.DriverError(
                    action='pivot', disk=disk, reason='Permission denied'
                )

        self.useFixture(fixtures.MonkeyPatch(f'{steps.__name__}._PAUSE', 0.01))
        self.arriving(on_pivot=on_pivot)
        self.migration().run()
        self.assert_arrived()
        self.assertEqual(['vda', 'vdb', 'vdb'], sorted(begun))
        self.assertEqual(2, self.asked.count('pivot'))


@ddt.ddt
class TestSilence(world.WorldTestCase):
    """The destination is away for a moment."""

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(f'{steps.__name__}._PAUSE', 0.01))

    def silent(self, operation, times):
        def on_message(message):
            if (
                message['operation'] == operation
                and self.asked.count(operation) <= times
            ):
                raise exception.PeerError(operation=operation, reason='away.')

        self.on_message = on_message

    @ddt.data('pivot', 'finish')
    def test_what_cannot_be_taken_back_is_ordered_again(self, operation):
        self.silent(operation, 2)
        self.migration().run()
        self.assert_arrived()
        self.assertEqual(3, self.asked.count(operation))

    def test_what_goes_on_is_joined_when_it_is_ordered_again(self):
        released = threading.Event()
        self.addCleanup(released.set)

        def on_message(message):
            # its answer is lost while it takes its time
            times = self.asked.count('pivot')
            if message['operation'] == 'pivot' and times == 1:
                self.destination.handle(message)
                raise exception.PeerError(operation='pivot', reason='away.')
            if message['operation'] == 'status' and times > 1:
                released.set()

        self.arriving(on_pivot=lambda _disk: released.wait(30))
        self.on_message = on_message
        self.migration().run()
        self.assert_arrived()
        self.assertEqual(2, self.asked.count('pivot'))

    def test_a_copy_is_not_ordered_again_but_taken_back(self):
        self.silent('copy', 1)
        self.undone()
        self.assertEqual(1, self.asked.count('copy'))

    def test_for_ever(self):
        self.silent('finish', 1000)
        error = self.stuck()
        self.assertIn('away', str(error))


@ddt.ddt
class TestRequest(world.WorldTestCase):
    def setUp(self):
        super().setUp()
        self.before = sorted(
            path.name
            for name in 'ab'
            for path in (self.directory / name).rglob('*')
            if path.is_file()
        )

    def assert_refused(self, kind, *parts, **changes):
        migration = self.migration(**changes)
        error = self.refused(kind, migration.run)
        for part in parts:
            self.assertIn(part, str(error))
        self.assert_untouched()
        self.assertEqual([], self.exporter.log)

    def test_a_plan_says_all_and_changes_nothing(self):
        drive = samples.disk_xml('sda', '', device='cdrom')
        self.machine.xml = self.home_xml.replace(
            '<console', f'{drive}<console'
        )
        plan = self.migration().plan()
        self.assertEqual('guest', plan.guest)
        self.assertEqual(
            [
                (disk, self.path('a', disk), self.path('b', disk), world.SIZE)
                for disk in self.disks
            ],
            [
                (move.disk, move.source.path, move.base.path, move.size_bytes)
                for move in plan.moves
            ],
        )
        self.assertEqual(['sda'], [left.disk for left in plan.left_alone])
        self.assertEqual(['prepare', 'discard'], self.asked)
        self.assertEqual(
            self.before,
            sorted(
                path.name
                for name in 'ab'
                for path in (self.directory / name).rglob('*')
                if path.is_file()
            ),
        )

    def test_a_plan_that_is_refused_leaves_nothing(self):
        self.make_image('b', 'vda', 512)
        self.refused(exception.BaseRefused, self.migration().plan)
        self.assertEqual('discard', self.asked[-1])
        self.assert_untouched()

    def test_a_guest_that_is_not_there(self):
        self.assert_refused(exception.GuestNotFound, 'other', guest='other')

    def test_a_guest_that_does_not_run(self):
        self.machine.condition = (5, 0)
        self.assert_refused(exception.GuestNotRunning, 'guest')

    @ddt.data('a', 'b')
    def test_a_host_that_is_too_old(self, host):
        getattr(self, host).library = 1_000_000
        self.assert_refused(exception.VersionTooOld, f'host-{host}')

    def test_a_lock_manager(self):
        settings = self.directory / 'qemu.conf'
        settings.write_text('lock_manager = "lockd"\n')
        self.patch(qemu_conf, 'PATH', str(settings))
        self.assert_refused(exception.LockManagerUsed, '"lockd"')

    def test_a_destination_that_is_not_reached(self):
        self.listener.close()
        self.assert_refused(exception.DestinationUnreachable, self.away)
        self.assertEqual([], self.asked)

    def test_a_guest_that_is_there_already(self):
        self.b.machines[samples.UUID] = fakes.Machine(self.home_xml)
        error = self.refused(exception.GuestExists, self.migration().run)
        self.assertIn('host-b', str(error))
        self.assertIsNone(self.record('a'))

    def test_a_driver_that_the_destination_does_not_have(self):
        self.options = {'driver': 'tape'}
        self.assert_refused(exception.UnknownDriver, 'tape', 'virsh')

    def test_an_image_that_cannot_be_read(self):
        (self.directory / 'a' / 'vdb').unlink()
        del self.content['vdb']
        self.assert_refused(exception.DiskRefused, 'vdb', 'does not exist')

    def test_a_base_that_is_not_there(self):
        (self.directory / 'b' / 'vdb').unlink()
        self.assert_refused(exception.BaseRefused, 'vdb', 'does not exist')

    def test_one_base_for_two_disks(self):
        base = model.BaseRequest(path=self.path('b', 'vda'))
        self.assert_refused(
            exception.BaseRefused,
            'it is the base of disk vda too',
            bases={'vda': base, 'vdb': base},
        )

    def test_the_source_image_as_its_own_base(self):
        self.assert_refused(
            exception.BaseRefused,
            'the source image itself',
            bases={
                disk: model.BaseRequest(path=self.path('a', disk))
                for disk in self.disks
            },
        )

    def leave_alone(self, path):
        """Ask for vda only; vdb is a read-only file."""
        readonly = samples.file_xml('vdb', path).replace(
            '<target', '<readonly/><target'
        )
        self.machine.xml = self.machine.definition = self.home_xml = (
            samples.domain(
                samples.file_xml('vda', self.path('a', 'vda')), readonly
            )
        )
        return {'vda': model.BaseRequest(path=self.path('b', 'vda'))}

    def test_a_disk_left_alone_must_be_there_too(self):
        bases = self.leave_alone(self.path('b', 'gone'))
        self.assert_refused(
            exception.DiskRefused,
            'vdb',
            'copy the file there first',
            bases=bases,
        )

    def test_a_disk_left_alone_stays_as_it_is(self):
        path = self.path('b', 'vdb')
        bases = self.leave_alone(path)
        self.migration(bases=bases).run()
        self.assertIn(path, self.b.machines[samples.UUID].xml)
        self.assertEqual({'start vda', 'stop vda'}, set(self.exporter.log))

    @ddt.data('a', 'b')
    def test_an_unfinished_migration_comes_first(self, host):
        old = journal.Record(
            migration='old',
            guest=samples.UUID,
            name='guest',
            role=model.Role.SOURCE,
            mode=model.Mode.DIRECT,
            peer='x',
            state=State.STUCK,
        )
        home = journal.Journal(str(self.directory / host / 'journal'))
        home.open(old)
        migration = self.migration()
        # on the source, a second attempt must not take the other record for
        # its own
        for _attempt in range(2 if host == 'a' else 1):
            self.refused(exception.UnfinishedMigration, migration.run)
            self.assertEqual('old', self.record(host).migration)
        self.assertEqual([], self.exporter.log)

    @ddt.data(('', '127.0.0.1'), ('host-b', 'host-b'))
    @ddt.unpack
    def test_exports_are_for_the_destination_alone(self, peer, served):
        self.migration(peer=peer).run()
        self.assertEqual({served}, self.exporter.peers)

    def test_without_a_journal_nothing_is_done(self):
        (self.directory / 'a' / 'journal').write_text('in the way')
        self.refused(exception.JournalError, self.migration().run)
        self.assertEqual([], self.exporter.log)
        self.assertEqual([], self.asked)


class TestMeanwhile(world.WorldTestCase):
    #: What there is to carry, in bytes.
    bulk = 2 * fakes.TOTAL
    #: What may be counted on top of that.
    rest = 0

    def setUp(self):
        super().setUp()
        self.arriving(pace=0)
        self.seen_speeds: list[int] = []

    def speeds(self):
        return [
            job.bandwidth
            for job in self.b.machines[samples.UUID].jobs.values()
        ]

    def go_on(self, machine):
        """Note the speeds, and let the copies get ready."""
        self.seen_speeds = self.speeds()
        machine.pace = fakes.TOTAL

    def test_the_bandwidth_of_the_settings(self):
        self.options = {'block_migration_bandwidth': 20}
        self.when_copying(self.go_on)
        self.migration().run()
        self.assertEqual([10 * MIB] * 2, self.seen_speeds)

    def test_the_bandwidth_before_it_begins(self):
        self.when_copying(self.go_on)
        migration = self.migration()
        migration.set_bandwidth(4)
        migration.run()
        self.assertEqual([2 * MIB] * 2, self.seen_speeds)

    def test_the_bandwidth_while_it_copies(self):
        def change(machine):
            self.assertEqual([0, 0], self.speeds())
            self.running.set_bandwidth(4)

            def on_progress(_state):
                # nothing is ready until then, so it does not shift
                if self.speeds() == [2 * MIB] * 2:
                    self.go_on(machine)

            self.on_progress = on_progress

        self.when_copying(change)
        self.migration().run()
        self.assertEqual([2 * MIB] * 2, self.seen_speeds)

    def test_a_bandwidth_that_is_no_limit_of_libvirts(self):
        migration = self.migration()
        self.refused(exception.InvalidOption, migration.set_bandwidth, -1)

    def test_its_progress_can_be_read(self):
        self.arriving()
        migration = self.migration()
        self.assertEqual(State.PREPARING, migration.progress.state)
        migration.run()
        self.assertEqual(State.ENDED, migration.progress.state)
        self.assertEqual(0, migration.progress.remaining_bytes)
        # of what is counted anew, as much as was seen of it
        rest = migration.progress.total_bytes - self.bulk
        self.assertIn(rest, range(self.rest + 1))

    def test_a_listener_that_fails_does_not_decide(self):
        def on_progress(_state):
            raise RuntimeError('the listener broke')

        self.on_progress = on_progress
        self.arriving()
        self.migration().run()
        self.assert_arrived()
        self.assertIn('the listener broke', self.log.output)

    def test_a_journal_that_is_lost_on_the_way(self):
        home = self.directory / 'a' / 'journal'

        def lose(machine):
            shutil.rmtree(home)
            home.write_text('in the way')
            machine.pace = fakes.TOTAL

        self.when_copying(lose)
        error = self.refused(exception.MigrationStuck, self.migration().run)
        self.assertIn(str(home), str(error))
        # nothing is undone that could not be noted
        self.assertIn(samples.UUID, self.b.machines)
        self.assert_all_served()

    def test_each_has_its_own_id(self):
        self.assertNotEqual(self.migration().id, self.migration().id)


class TestAbortSeeded(world.Seeded, TestAbort):
    pass


class TestHalfPivotedSeeded(world.Seeded, TestHalfPivoted):
    pass


@ddt.ddt
class TestSilenceSeeded(world.Seeded, TestSilence):
    @ddt.data('received', 'seed', 'digest', 'apply')
    def test_a_seeding_is_not_ordered_again_but_taken_back(self, operation):
        self.silent(operation, 1)
        self.undone()
        self.assertEqual(1, self.asked.count(operation))

    def test_a_destination_that_forgot_its_seeding(self):
        def on_message(message):
            if message['operation'] == 'status' and 'seed' in self.asked:
                self.on_message = lambda _message: None
                self.restart_destination()

        self.on_message = on_message
        error = self.undone()
        self.assertIn('restarted', str(error))


class TestRequestSeeded(world.Seeded, TestRequest):
    pass


class TestMeanwhileSeeded(world.Seeded, TestMeanwhile):
    bulk = 2 * world.SIZE
    #: The copies of the deltas.
    rest = 2 * fakes.TOTAL

    def test_the_bandwidth_while_it_seeds(self):
        limits = []

        def on_piece(_seed, _piece):
            self.running.set_bandwidth(4)
            (arrival,) = self.destination._arrivals.values()
            bases = arrival.operations._bases
            limits.append(getattr(bases._seeder, '_limit', None))

        self.on_piece = on_piece
        self.arriving()
        self.migration().run()
        self.assertEqual({4 * MIB}, set(limits))
        self.assert_arrived()
