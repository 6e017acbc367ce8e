# SPDX-License-Identifier: Apache-2.0
"""The room of all migrations of a host, from their journals and files."""

import dataclasses
import os
import uuid

import fixtures

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import deltas
from nova_blockcopy.host import space
from nova_blockcopy.migration import reservations
from nova_blockcopy.records import journal
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

MIB = 1024 * 1024
State = states.State


class ReservationsTestCase(base.TestCase):
    """A file system that has as much free as a test says, in MiB."""

    options: dict[str, int] = {}  # noqa: RUF012

    def setUp(self):
        super().setUp()
        self.free = 1000
        self.now = 0.0
        (self.directory / 'deltas').mkdir()
        self.options_ = self.settings(delta_min_free=10, **self.options)
        self.journal = journal.Journal(self.options_.journal_dir)
        self.room = reservations.Reservations(self.options_)
        self.records = {}
        for target, value in (
            (f'{space.__name__}._system', self.system),
            (f'{reservations.__name__}.time.monotonic', lambda: self.now),
        ):
            self.useFixture(fixtures.MonkeyPatch(target, value))

    def system(self, directory):
        return space.FileSystem(
            device=os.stat(directory).st_dev,
            place=directory,
            free=self.free * MIB,
        )

    def write(self, path, mib):
        with open(path, 'ab') as f:
            f.write(b'x' * mib * MIB)

    def begin(self, migration, size=100, role=model.Role.SOURCE):
        """A migration of a guest with one disk, which is all holes."""
        disk = self.directory / f'{migration}-disk'
        disk.touch()
        move = samples.move(
            source=samples.image(str(disk), samples.FILE),
            base=samples.image(str(disk), samples.FILE),
        )
        overlays = (
            (self.delta(migration),) if role is model.Role.SOURCE else ()
        )
        move = dataclasses.replace(
            move, size_bytes=size * MIB, deltas=overlays
        )
        record = samples.record(
            migration=migration,
            guest=str(uuid.uuid4()),
            role=role,
            mode=model.Mode.SEEDED,
            state=State.SEEDING,
            moves=(move,),
        )
        self.records[migration] = self.journal.open(record)
        return disk

    def delta(self, migration):
        return str(self.directory / 'deltas' / f'{migration}-vda.0.qcow2')

    def note(self, migration, state):
        self.records[migration] = self.journal.write(
            self.records[migration], state
        )

    def refused(self, migration):
        error = self.assertRaises(exception.NoRoom, self.room.check, migration)
        return str(error)


class TestSum(ReservationsTestCase):
    def setUp(self):
        super().setUp()
        self.begin('one')
        self.begin('other')
        self.write(self.delta('one'), 8)
        self.write(self.delta('other'), 4)

    def test_each_counts_the_merges_of_all(self):
        # 8 and 4 to merge, and 10 or half of that
        for migration, enough in (('one', 22), ('other', 17), ('', 22)):
            self.free = enough
            self.room.check(migration)
            self.free = enough - 1
            said = self.refused(migration)
            self.assertIn(f'{enough} MiB are needed', said)
            self.assertIn('12 MiB to merge the deltas of the 2', said)
            self.assertIn('delta_min_free', said)

    def test_one_that_ended_needs_nothing(self):
        self.journal.close(self.records['other'].guest)
        self.free = 18
        self.room.check('one')
        self.free = 17
        self.refused('one')

    def test_a_restarted_process_knows_them(self):
        self.room = reservations.Reservations(self.options_)
        self.free = 21
        self.refused('one')

    def test_what_is_merged_is_needed_no_more(self):
        """The other one goes on while the larger one is taken back."""
        self.room.check('other')
        self.note('one', State.UNDOING)
        self.free = 17
        self.room.check('other')
        self.write(self.directory / 'one-disk', 6)
        self.free = 11
        self.room.check('other')
        self.free = 10
        self.refused('other')

    def test_after_the_pivot_nothing_is_merged(self):
        for state in (
            *(State.EXPORTING, State.SWITCHING, State.COPYING),
            *(State.READY, State.PIVOTING),
        ):
            self.note('one', state)
        self.free = 21
        self.refused('other')
        self.note('one', State.RELEASING)
        self.free = 14
        self.room.check('other')

    def test_a_damaged_journal_is_not_counted(self):
        path = self.journal.path(self.records['other'].guest)
        with open(path, 'w', encoding='utf-8') as f:
            f.write('?')
        self.free = 18
        self.room.check('one')

    def test_a_delta_that_is_received_counts(self):
        self.begin('came', role=model.Role.DESTINATION)
        landing = deltas.landing(self.options_.delta_dir, 'came', 'vda')
        self.write(landing, 5)
        self.free = 26
        self.assertIn('17 MiB to merge', self.refused('one'))


class TestRate(ReservationsTestCase):
    def test_fast_writes_need_a_larger_margin(self):
        self.begin('one', size=4)
        self.begin('other', size=4)
        self.room.check('one')
        self.now = 2.0
        self.write(self.delta('one'), 8)
        self.write(self.delta('other'), 12)
        # two merges of 4, and 10 MiB/s for 5 s
        self.free = 57
        self.assertIn('58 MiB are needed', self.refused('other'))
        self.free = 58
        self.room.check('other')
        # nothing was written any more
        self.now = 20.0
        self.free = 18
        self.room.check('other')


class TestLimit(ReservationsTestCase):
    options = {'delta_max_size': 50}  # noqa: RUF012

    def grow(self, mib):
        self.now += 1
        self.write(self.delta('one'), mib)

    def test_before_it_is_reached(self):
        self.begin('one')
        self.begin('other')
        self.room.check('one')
        self.grow(8)
        self.room.check('one')
        self.grow(10)
        # 18 MiB, and 9 MiB/s for 5 s
        error = self.assertRaises(
            exception.DeltasTooLarge, self.room.check, 'one'
        )
        self.assertIn('have 18 MiB and grow by 9 MiB/s', str(error))
        self.assertIn('allows 50 MiB', str(error))
        self.room.check('other')

    def test_a_slow_guest_may_use_all_of_it(self):
        self.begin('one')
        self.grow(49)
        self.room.check('one')
        self.now += 100
        self.room.check('one')
        self.grow(2)
        self.assertRaises(exception.DeltasTooLarge, self.room.check, 'one')

    def test_without_a_limit(self):
        self.room = reservations.Reservations(
            dataclasses.replace(self.options_, delta_max_size=0)
        )
        self.begin('one')
        self.grow(90)
        self.room.check('one')


class TestExamine(ReservationsTestCase):
    def test_the_room_of_the_other_migrations_counts(self):
        self.begin('m1')
        self.write(self.delta('m1'), 20)
        self.free = 35
        reservations.examine(self.options_)
        self.free = 29
        self.assertRaises(
            exception.NoRoom, reservations.examine, self.options_
        )

    def test_a_directory_that_is_not_there_is_not_made(self):
        (self.directory / 'deltas').rmdir()
        reservations.examine(self.options_)
        self.free = 9
        self.assertRaises(
            exception.NoRoom, reservations.examine, self.options_
        )
        self.assertFalse((self.directory / 'deltas').exists())
