# SPDX-License-Identifier: Apache-2.0
"""Seeded mode over both real sides of the engine, down to the bytes."""

import dataclasses
import json
import os
import pathlib
import shutil
import threading
import types

import ddt
import fixtures
import libvirt

from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.copies import seeder
from nova_blockcopy.host import deltas
from nova_blockcopy.host import images
from nova_blockcopy.host import space
from nova_blockcopy.migration.source import rounds
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.migration import world

State = states.State
IO_ERROR = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)


class SeedingTestCase(world.Seeded, world.WorldTestCase):
    def writes(self, *sizes):
        """Have the guest write so much in each round."""
        left = list(sizes)

        def on_piece(seed, _piece):
            if seed.disk == 'vda' and left:
                self.write(
                    self.a.machines[samples.UUID], 'vda', 0, 'm', left.pop(0)
                )

        self.on_piece = on_piece

    def replace(self, target, value):
        self.useFixture(fixtures.MonkeyPatch(target, value))

    def damage(self, disk, offset):
        """Alter a byte of a base before it is compared."""

        def on_message(message):
            if message['operation'] == 'digest':
                with open(self.path('b', disk), 'r+b') as f:
                    f.seek(offset)
                    f.write(b'?')

        self.on_message = on_message


@ddt.ddt
class TestRounds(SeedingTestCase):
    def test_one_round(self):
        self.writes(8192)
        record = self.migration().run()
        self.assert_arrived()
        order = (
            'preparing freezing seeding exporting switching copying ready '
            'pivoting releasing ended'
        )
        self.assertEqual(order.split(), self.seen)
        self.assertEqual(
            [
                *('prepare', 'received', 'seed', 'digest', 'digest'),
                *('apply', 'copy', 'pivot', 'finish'),
            ],
            self.asked,
        )
        self.assertEqual(model.Role.DESTINATION, record.authority)
        self.assertIsNotNone(self.running.progress.forecast)
        (snapshot,) = self.a.snapshots
        self.assertTrue(
            snapshot[1] & libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
        )

    def test_as_many_rounds_as_are_of_use(self):
        self.options = {'max_remote_window': 0, 'seed_rounds': 4}
        self.writes(900_000, 500_000, 200_000, 100_000)
        record = self.migration().run()
        self.assert_arrived()
        self.assertEqual(4, len(self.a.snapshots))
        self.assertEqual(4, self.asked.count('apply'))
        self.assertEqual(
            4, sum('round' in entry.note for entry in record.history)
        )

    def test_no_more_rounds_when_they_are_of_no_use(self):
        self.options = {'max_remote_window': 0, 'seed_rounds': 4}
        self.writes(200_000, 500_000, 900_000)
        self.migration().run()
        self.assert_arrived()
        self.assertEqual(2, len(self.a.snapshots))
        self.assertIn(
            'The guest moves now, and may write at most', self.log.output
        )

    def test_a_shortfall_can_end_it(self):
        self.options = {
            'max_remote_window': 0,
            'seed_rounds': 2,
            'seed_shortfall_action': 'abort',
        }
        self.writes(8192, 8192)
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.SeedFailed)
        self.assertIn('max_remote_window', str(error))
        self.assertEqual([], self.a.migrations)

    @ddt.data('none', 'sample', 'full')
    def test_what_arrives_is_compared(self, verify):
        self.options = {'verify': verify}
        self.encrypt()
        self.migration().run()
        self.assert_arrived()
        self.assertEqual(
            0 if verify == 'none' else 2, self.asked.count('digest')
        )

    @ddt.data('none', 'sample')
    def test_all_that_arrives_in_clear_text_is_compared(self, verify):
        nothing = fixtures.MockPatchObject(extents, 'sample', lambda _size: ())
        self.useFixture(nothing)
        self.options = {'verify': verify}
        self.damage('vdb', 500_000)
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.VerifyFailed)

    def test_a_sample_leaves_the_rest_out(self):
        nothing = fixtures.MockPatchObject(extents, 'sample', lambda _size: ())
        self.useFixture(nothing)
        self.encrypt()
        self.migration().run()
        self.assert_arrived()
        self.assertNotIn('digest', self.asked)

    @ddt.data('sample', 'full')
    def test_what_arrives_damaged_is_refused(self, verify):
        self.options = {'verify': verify}
        self.encrypt()
        self.damage('vdb', 500_000)
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.VerifyFailed)
        self.assertIn('vdb', str(error))

    def test_a_delta_that_names_another_file_is_refused(self):
        self.options = {
            'verify': 'none',
            'max_remote_window': 0,
            'seed_rounds': 2,
        }
        self.encrypt()
        self.writes(900_000)
        victim = self.directory / 'b' / 'victim'
        evil = self.path('a', 'evil')
        world.qemu(
            *('qemu-img', 'create', '-f', 'qcow2', '-o'),
            *(f'data_file={victim},cluster_size=4096', evil),
            str(world.SIZE),
        )
        victim.write_bytes(b'v' * world.SIZE)
        landing = self.directory / 'b' / 'deltas'

        def on_message(message):
            if message['operation'] != 'apply':
                return
            if message['seeds'][0]['delta']:
                with open(landing / f'{self.running.id}-vda.seed', 'wb') as f:
                    f.write(pathlib.Path(evil).read_bytes())

        self.on_message = on_message
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.HeaderError)
        self.assertIn('-vda.seed: its data is in an external', str(error))
        self.assertEqual(b'v' * world.SIZE, victim.read_bytes())
        self.assertNotIn(b'v', (self.directory / 'b' / 'vda').read_bytes())

    @ddt.data('sample', 'full')
    def test_a_delta_that_arrives_damaged_is_refused(self, verify):
        # samples of a delta would not be enough
        nothing = fixtures.MockPatchObject(extents, 'sample', lambda _size: ())
        self.useFixture(nothing)
        self.options = {
            'verify': verify,
            'max_remote_window': 0,
            'seed_rounds': 2,
        }
        self.encrypt()
        self.writes(900_000)
        landing = self.directory / 'b' / 'deltas'

        def on_message(message):
            if message['operation'] == 'digest' and message['seed']['delta']:
                with open(landing / f'{self.running.id}-vda.seed', 'r+b') as f:
                    f.seek(65536)
                    f.write(b'?')

        self.on_message = on_message
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.VerifyFailed)
        self.assertIn('vda', str(error))
        self.assertEqual(1, self.asked.count('apply'))

    def test_a_delta_that_does_not_arrive_leaves_nothing(self):
        self.options = {'max_remote_window': 0, 'seed_rounds': 2}
        self.writes(900_000)
        before = self.on_piece
        landed = []

        def on_piece(seed, piece):
            before(seed, piece)
            if seed.delta:
                landed.extend(self.overlays('b'))
                raise SystemError('it broke')

        self.on_piece = on_piece
        self.assertIn('it broke', str(self.undone()))
        self.assertIn(f'{self.running.id}-vda.seed', landed)

    def test_a_window_after_writes_on_both_hosts(self):
        migration = self.migration()
        migration.run(through=State.EXPORTING)
        self.write(self.machine, 'vda', 8192, 'e')
        migration.run(through=State.COPYING)
        self.write(self.b.machines[samples.UUID], 'vdb', 8192, 'c')
        migration.run(through=State.PIVOTING)
        self.write(self.b.machines[samples.UUID], 'vda', 12288, 'p')
        migration.run()
        self.assert_arrived()

    def test_a_transient_guest(self):
        self.machine.definition = None
        self.writes(8192)
        self.migration().run()
        self.assertIsNone(self.b.machines[samples.UUID].definition)
        self.assert_content('b')
        self.assert_no_litter()

    def test_a_transient_guest_that_is_put_back(self):
        self.machine.definition = None
        self.a.on_migrate = failing
        self.writes(8192)
        self.refused(exception.MigrationUndone, self.migration().run)
        self.assertIsNone(self.machine.definition)
        self.assert_content('a')
        self.assert_no_litter()

    @ddt.data('sample', 'full')
    def test_the_message_names_the_place(self, verify):
        self.options = {'verify': verify}
        self.encrypt()
        self.replace('nova_blockcopy.extents.UNIT', 65536)
        self.replace('nova_blockcopy.extents.BATCH', 3)

        self.damage('vda', world.SIZE - 1)
        self.assertIn(f'at offset {world.SIZE - 65536}', str(self.undone()))
        self.assertNotIn('apply', self.asked)


@ddt.ddt
class TestCopies(SeedingTestCase):
    """What is left of each disk goes straight into its base."""

    def setUp(self):
        super().setUp()
        self.make_layered('vdb')

    @ddt.data(1, 3)
    def test_deltas_go_into_bases_of_any_kind(self, rounds):
        self.options = {'max_remote_window': 0, 'seed_rounds': rounds}
        self.writes(900_000, 500_000, 200_000)
        self.a.after_snapshot = lambda _machine: self.write(
            self.machine, 'vdb', 4096 * len(self.a.snapshots), 'n'
        )
        migration = self.migration()
        migration.run(through=State.COPYING)
        self.assertEqual(rounds, len(self.a.snapshots))
        self.write(self.b.machines[samples.UUID], 'vdb', 65536, 'w')
        migration.run()
        self.assert_arrived()
        self.assertEqual(
            [(disk, self.path('b', disk)) for disk in self.disks],
            [
                (disk, image.path)
                for disk, image in self.b.machines[samples.UUID].started
            ],
        )

    def test_the_hole_that_an_earlier_export_has_left_is_not_seeded(self):
        """To compare the hole takes long, and a sample would be all hole."""
        long = 64 * 2**20
        os.truncate(self.path('a', 'vdb'), long)
        self.migration().run()
        self.assert_arrived()
        sizes = {s.size_bytes for s, _piece in self.pieces if s.disk == 'vdb'}
        self.assertLess(max(sizes), long)
        self.assertLess(os.path.getsize(self.path('b', 'vdb')), long)

    def test_only_the_top_layer_is_copied(self):
        migration = self.migration()
        migration.run(through=State.COPYING)
        jobs = self.b.machines[samples.UUID].jobs
        self.assertEqual(
            dict.fromkeys(self.disks, True),
            {disk: job.shallow for disk, job in jobs.items()},
        )
        migration.run()

    def test_a_base_that_is_layered_stays_so(self):
        self.migration().run()
        self.assert_arrived()
        below = samples.image(f'{self.path("b", "vdb")}.below', samples.FILE)
        self.assertEqual(
            model.overlay(self.path('b', 'vdb'), below),
            images.describe(self.path('b', 'vdb'), samples.QCOW2),
        )

    @ddt.data(1, 2)
    def test_a_guest_that_writes_too_fast_is_slowed_down(self, rounds):
        said = []

        def on_message(message):
            if message['operation'] == 'copy':
                said.append(message)

        self.options = {'max_remote_window': 0, 'seed_rounds': rounds}
        self.on_message = on_message
        self.writes(8192, 65536)
        migration = self.migration()
        migration.run(through=State.COPYING)
        (message,) = said
        self.assertFalse(message['synchronous_writes'])
        # half of what is copied meanwhile
        rate = migration.progress.forecast.rate
        self.assertEqual(int(rate / 2), message['guest_bandwidth'])
        machine = self.b.machines[samples.UUID]
        self.assertEqual(set(self.disks), set(machine.limits))
        for disk in self.disks:
            self.assertEqual(
                int(rate / 2) // 2,
                machine.limits_of(disk)['write_bytes_sec'],
            )
        migration.run()
        self.assertEqual(
            [dict.fromkeys(fakes.LIMITS, 0)] * 2,
            [machine.limits_of(disk) for disk in self.disks],
        )
        self.assert_arrived()

    def test_one_that_does_not_is_not(self):
        self.options = {'max_remote_window': 3600}
        self.migration().run()
        self.assert_arrived()
        self.assertEqual([], self.b.limit_flags)


class TestByContent(SeedingTestCase):
    """A qcow2 goes into a raw base: what a guest sees is the same."""

    def setUp(self):
        super().setUp()
        self.make_qcow2('vda')

    def request(self, **changes):
        bases = {
            disk: model.BaseRequest(
                path=self.path('b', disk), format=samples.RAW, whole=True
            )
            for disk in self.disks
        }
        return super().request(bases=bases, **changes)

    def test_it_arrives(self):
        self.options = {'verify': 'full'}
        self.migration().run()
        machine = self.b.machines[samples.UUID]
        self.assertIn(self.path('b', 'vda'), machine.xml)
        self.assertEqual(2, self.asked.count('digest'))
        self.assert_content('b')

    def test_damage_is_noticed(self):
        self.damage('vda', 500_000)
        error = self.refused(exception.MigrationUndone, self.migration().run)
        self.assertIsInstance(error.__cause__, exception.VerifyFailed)
        self.assertIn('vda', str(error))

    def test_what_is_written_meanwhile_arrives_as_it_is(self):
        self.options = {
            'verify': 'full',
            'max_remote_window': 0,
            'seed_rounds': 2,
        }
        self.writes(900_000)
        self.migration().run()
        self.assertEqual(2, self.asked.count('apply'))
        self.assertEqual(
            {('vda', False, True), ('vda', True, False)},
            {
                (seed.disk, seed.delta, seed.by_content)
                for seed, _piece in self.pieces
                if seed.disk == 'vda'
            },
        )
        self.assert_arrived()

    def test_in_direct_mode_it_arrives_as_well(self):
        # vdb has one layer only
        (self.directory / 'a' / 'deltas').write_text('in the way')
        self.migration().run()
        (self.directory / 'a' / 'deltas').unlink()
        self.assertIn('cannot be seeded', self.log.output)
        self.assertEqual([], self.a.snapshots)
        self.assert_arrived()

    def test_a_second_attempt_goes_on(self):
        self.a.on_migrate = failing
        self.refused(exception.MigrationUndone, self.migration().run)
        self.a.on_migrate = lambda _machine: None
        self.pieces.clear()
        with open(self.path('b', 'vdb'), 'r+b') as f:
            f.write(b'damage')
        self.migration().run()
        self.assertEqual(
            {'vdb'}, {seed.disk for seed, _ in self.pieces if not seed.delta}
        )
        self.assert_content('b')


def failing(*_arguments):
    raise fakes.libvirt_error(message='it broke')


@ddt.ddt
class TestFreeze(SeedingTestCase):
    @ddt.data('on_snapshot', 'after_snapshot')
    def test_a_snapshot_in_which_a_guest_ends(self, moment):
        def end(machine):
            self.write(machine, 'vda', 8192, 'w')
            machine.power_off()
            failing()

        setattr(self.a, moment, end)
        self.refused(exception.GuestEnded, self.migration().run)
        self.assertTrue(self.machine.off)
        self.assert_untouched()

    @ddt.data('on_snapshot', 'after_snapshot')
    def test_a_second_snapshot_that_fails(self, moment):
        self.options = {'max_remote_window': 0, 'seed_rounds': 2}
        self.writes(8192)

        def fail(machine):
            if len(self.a.snapshots) == 2:
                self.write(machine, 'vdb', 8192, 'w')
                failing()

        setattr(self.a, moment, fail)
        self.assertIn('it broke', str(self.undone()))

    def test_a_second_delta_that_cannot_be_made(self):
        self.options = {'max_remote_window': 0, 'seed_rounds': 2}
        self.writes(8192)

        def on_message(message):
            if message['operation'] == 'apply':
                self.options = {}
                # in the way of the next one
                name = f'{self.running.id}-vdb.1.qcow2'
                another = self.directory / 'another'
                another.touch()
                os.link(another, self.directory / 'a' / 'deltas' / name)

        def create(image, *more):
            if image.path.endswith('vdb.1.qcow2'):
                self.machine.power_off()
            made(image, *more)

        made = deltas.create
        self.useFixture(
            fixtures.MonkeyPatch('nova_blockcopy.host.deltas.create', create)
        )
        self.on_message = on_message
        error = self.refused(exception.MigrationStuck, self.migration().run)
        self.assertIn('vdb.1', str(error))
        # nothing that the guest has written is gone
        self.assertIn(f'{self.running.id}-vda.0.qcow2', self.overlays('a'))

    def test_a_snapshot_that_changed_nothing(self):
        self.a.deaf = True
        error = self.undone()
        self.assertIn('does not use', str(error))

    def test_the_deltas_are_written_down_before_they_are_made(self):
        said = []
        self.a.on_snapshot = lambda _machine: said.append(self.record('a'))
        self.migration().run()
        self.assertEqual('freezing', said[0].state)
        for move in said[0].moves:
            (delta,) = move.deltas
            self.assertIn(f'{self.running.id}-{move.disk}.0', delta)

    def test_what_is_left_alone_is_not_frozen(self):
        drive = samples.disk_xml('sda', '', device='cdrom')
        drive = drive.replace('<target', '<readonly/><target')
        xml = self.home_xml.replace('<console', f'{drive}<console')
        self.machine.xml = self.machine.definition = xml
        self.migration().run()
        self.assertIn('name="sda" snapshot="no"', self.a.snapshots[0][0])
        self.assert_arrived()

    def assert_moved_directly(self, *words):
        """Nothing of the first attempt is left, and it says why."""
        self.assert_arrived()
        self.assertEqual(
            'preparing exporting switching copying ready pivoting releasing '
            'ended'.split(),
            self.seen[-8:],
        )
        for word in ('cannot be seeded', *words):
            self.assertIn(word, self.log.output)

    @ddt.data('a', 'b')
    def test_no_room(self, host):
        deltas = self.directory / host / 'deltas'
        deltas.write_text('in the way')
        self.migration().run()
        self.assertEqual([], self.a.snapshots)
        deltas.unlink()
        self.assert_moved_directly('delta_dir')

    def test_no_room_is_said_in_the_plan(self):
        (self.directory / 'a' / 'deltas').write_text('in the way')
        self.assertIs(model.Mode.DIRECT, self.migration().plan().mode)

    @ddt.data('on_snapshot', 'after_snapshot')
    def test_a_guest_that_libvirt_does_not_freeze(self, moment):
        setattr(self.a, moment, failing)
        self.migration().run()
        self.assertIn('undoing', self.seen)
        self.assert_moved_directly('it broke')

    def test_a_guest_that_had_no_room_goes_on(self):
        woken = []

        def on_resume(machine):
            woken.append(machine)
            machine.condition = (libvirt.VIR_DOMAIN_RUNNING, 1)

        def on_migrate(machine):
            machine.condition = IO_ERROR
            failing()

        self.a.on_resume = on_resume
        self.a.on_migrate = on_migrate
        self.undone()
        self.assertEqual([self.machine], woken)
        self.assertNotIn('neither host', self.log.output)

    def test_a_definition_that_did_not_follow_is_put_back(self):
        self.machine.follows = False
        self.a.on_migrate = failing
        self.undone()


@ddt.ddt
class TestUndo(SeedingTestCase):
    def abort(self, _seed, _piece):
        self.running.abort()

    @ddt.data('seeding', 'exporting', 'switching', 'copying', 'ready')
    def test_an_abort(self, state):
        self.writes(8192)
        self.when(state, lambda: self.running.abort())
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.Aborted)
        self.assertFalse(self.a.machines[samples.UUID].off)

    def test_an_abort_in_mid_seed(self):
        self.on_piece = self.abort
        self.assertIsInstance(self.undone().__cause__, exception.Aborted)
        self.assertIn('abort', self.asked)

    def test_a_merge_that_fails_is_stuck_and_can_be_settled(self):
        self.machine.lost = {'vdb'}
        self.a.on_migrate = failing
        error = self.stuck()
        self.assertIn('vdb', str(error))
        # what has not been merged stays
        self.assertEqual(
            [f'{self.running.id}-vdb.0.qcow2'], self.overlays('a')
        )
        self.assertIsNotNone(self.record('b'))

    def test_a_guest_that_ends_in_mid_merge(self):
        def on_pivot(disk):
            if disk == 'vdb':
                self.write(self.machine, 'vda', 0, 'n')
                self.machine.power_off()

        self.writes(8192)
        self.machine.on_pivot = on_pivot
        self.a.on_migrate = failing
        error = self.undone(exception.GuestEnded)
        self.assertTrue(self.machine.off)
        self.assertIn('start it there', str(error))

    def test_a_destination_that_does_not_end_its_seeding(self):
        def on_message(message):
            if message['operation'] == 'abort':
                raise exception.PeerError(operation='abort', reason='away.')

        self.on_piece = self.abort
        self.on_message = on_message
        self.undone()
        self.assertIn('still seeds', self.log.output)

    def test_exports_are_revived_for_the_way_back(self):
        def on_start(disk):
            self.exporter.served.clear()
            raise exception.DriverError(
                action='start', disk=disk, reason='it broke'
            )

        self.arriving(on_start=on_start)
        self.undone()
        self.assertIn('revive vda', self.exporter.log)


class TestMeanwhile(SeedingTestCase):
    """What happens to the source while it is seeded from."""

    def test_exports_that_die_are_served_again(self):
        died = threading.Event()

        def on_piece(seed, _piece):
            if seed.disk == 'vdb' and not died.is_set():
                self.exporter.served.clear()
                died.set()

        self.replace(f'{seeder.__name__}._PAUSE', 0.01)
        self.replace(
            f'{rounds.__name__}.psutil.pid_exists',
            lambda _pid: not died.is_set(),
        )
        # with vda there, what fails is tried again
        self.options = {'seed_workers': 1}
        self.on_piece = on_piece
        self.migration().run()
        self.assert_arrived()
        self.assertIn('refused', self.log.output)
        self.assertEqual(
            ['revive vda', 'revive vdb'],
            [done for done in self.exporter.log if 'revive' in done],
        )
        self.assertIn(('source', 'export'), self.retried())
        self.assertIn(('destination', 'piece'), self.retried())

    def test_room_that_runs_out(self):
        full = threading.Event()
        aborted = threading.Event()
        self.addCleanup(aborted.set)
        woken = []
        statvfs = os.statvfs

        def room(path):
            found = statvfs(path)
            if not full.is_set() or self.path('a', '') not in path:
                return found
            return types.SimpleNamespace(f_bavail=0, f_frsize=found.f_frsize)

        def on_piece(_seed, _piece):
            self.machine.condition = IO_ERROR
            full.set()
            aborted.wait(30)

        def on_message(message):
            if message['operation'] == 'abort':
                aborted.set()

        def on_resume(machine):
            woken.append(machine)
            machine.condition = (libvirt.VIR_DOMAIN_RUNNING, 1)

        self.replace(f'{space.__name__}.os.statvfs', room)
        self.on_piece = on_piece
        self.on_message = on_message
        self.a.on_resume = on_resume
        error = self.undone()
        self.assertIsInstance(error.__cause__, exception.NoRoom)
        self.assertIn(str(self.directory / 'a' / 'deltas'), str(error))
        self.assertEqual([self.machine], woken)
        self.assertEqual([], self.a.migrations)


@ddt.ddt
class TestResume(SeedingTestCase):
    """A second attempt begins where the first one ended."""

    def book(self):
        return self.directory / ('b/journal/received') / f'{samples.UUID}.json'

    def fail_once(self):
        """The first attempt is undone after its seeding."""
        self.a.on_migrate = failing
        self.undone()
        self.a.on_migrate = lambda _machine: None
        self.assertTrue(self.book().exists())
        self.pieces.clear()

    def again(self):
        self.migration().run()
        self.assert_arrived()
        self.assertFalse(self.book().exists())
        return sorted(seed.disk for seed, _ in self.pieces if not seed.delta)

    def test_what_is_the_same_does_not_travel_again(self):
        self.fail_once()
        self.assertEqual([], self.again())

    def test_what_has_changed_travels_again(self):
        self.fail_once()
        self.write(self.machine, 'vdb', 8192, 'd')
        self.assertEqual(['vdb'], self.again())

    def test_what_was_damaged_travels_again(self):
        self.fail_once()
        with open(self.path('b', 'vda'), 'r+b') as f:
            f.write(b'damage')
        self.assertEqual(['vda'], self.again())

    def test_another_base_is_filled_anew(self):
        self.fail_once()
        path = self.path('b', 'vda')
        shutil.move(path, f'{path}.old')
        self.make_image('b', 'vda')
        self.assertEqual(['vda'], self.again())

    def fail_in_mid_seed(self):
        """Leave a qcow2 of zeroes in the place of vda's base."""

        def on_piece(_seed, _piece):
            raise SystemError('it broke')

        self.make_qcow2('vda')
        self.convert('b', 'vda', 'raw', 'qcow2')
        self.on_piece = on_piece
        self.refused(exception.MigrationUndone, self.migration().run)
        self.on_piece = lambda _seed, _piece: None
        with open(self.path('b', 'vda'), 'rb') as f:
            self.assertEqual(bytes(512), f.read(512))

    def test_a_qcow2_whose_header_did_not_arrive(self):
        self.fail_in_mid_seed()
        self.migration().run()
        self.assert_arrived()

    @ddt.data((model.Mode.DIRECT, False), (model.Mode.SEEDED, True))
    @ddt.unpack
    def test_a_qcow2_without_header_is_not_copied_to(self, mode, whole):
        self.fail_in_mid_seed()
        self.mode = mode
        bases = {
            disk: dataclasses.replace(base, whole=whole)
            for disk, base in self.request().bases.items()
        }
        error = self.refused(
            exception.BaseRefused, self.migration(bases=bases).run
        )
        self.assertIn(self.path('b', 'vda'), str(error))
        self.assertIsNone(self.record('b'))

    @ddt.data('', '[]', '{"vda": 1}', '{"vda": {"colour": "red"}}', 'null')
    def test_a_book_that_cannot_be_read_is_of_no_use(self, text):
        self.fail_once()
        self.book().write_text(text)
        self.assertEqual(['vda', 'vdb'], self.again())

    def test_a_seed_that_broke_goes_on(self):
        def on_piece(seed, _piece):
            if seed.disk == 'vdb':
                raise SystemError('it broke')

        self.on_piece = on_piece
        self.undone()
        self.on_piece = lambda _seed, _piece: None
        known = json.loads(self.book().read_text())
        self.pieces.clear()
        self.assertIn('vdb', self.again())
        self.assertEqual({'vda', 'vdb'}, set(known))
