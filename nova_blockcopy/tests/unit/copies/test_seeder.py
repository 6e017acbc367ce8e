# SPDX-License-Identifier: Apache-2.0
"""Filling bases: all of it, within the limit, through failures."""

import dataclasses
import errno
import itertools
import os
import threading

import ddt
import fixtures

from nova_blockcopy import bandwidth
from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.copies import seeder
from nova_blockcopy.host import command
from nova_blockcopy.host import transfer
from nova_blockcopy.model import Extent
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

MIB = bandwidth.MIB
UNIT = extents.PIECE


def _path(target):
    owner = getattr(target, '__module__', None)
    return f'{owner}.{target.__name__}' if owner else target.__name__


def _at_once(self, rate, _until):
    """Nothing has to wait for its time; test_seeder_limit.py does."""
    with self._changed:
        self._used -= rate
        self._changed.notify_all()


def broken(reason='it broke'):
    return command.CommandFailed(command='qemu-img', reason=reason)


@ddt.ddt
class TestSeeder(base.TestCase):
    def setUp(self):
        super().setUp()
        for target, name, value in (
            (transfer, 'run', self.transfer),
            (seeder, '_PAUSE', 0.001),
            (seeder.Seeder, '_give_back', _at_once),
        ):
            self.useFixture(
                fixtures.MonkeyPatch(f'{_path(target)}.{name}', value)
            )
        self.lock = threading.Lock()
        #: All pieces that were tried: disk, piece, rate, zeroed.
        self.tried = []
        self.arrived = []
        self.reports = []
        self.busy = {}
        self.most_busy = {}
        self.on_piece = lambda _disk, _piece: None
        self.cancelled = threading.Event()

    def transfer(self, seed, piece, *, rate, zeroed, encryption, timeout):
        with self.lock:
            self.tried.append((seed.disk, piece, rate, zeroed))
            now = self.busy[seed.disk] = self.busy.get(seed.disk, 0) + 1
            self.most_busy[seed.disk] = max(
                now, self.most_busy.get(seed.disk, 0)
            )
        try:
            self.on_piece(seed.disk, piece)
        finally:
            with self.lock:
                self.busy[seed.disk] -= 1

    def seed(self, disk='vda', size=4 * UNIT, **changes):
        path = self.directory / disk
        path.write_bytes(b'old')
        values = {
            'disk': disk,
            'source': samples.image('/source', samples.FILE),
            'target': samples.image(str(path), samples.FILE),
            'export': samples.export(disk),
            'extents': extents.outside(size, ()),
            'size_bytes': size,
            **changes,
        }
        return model.Seed(**values)

    def make(self, *seeds, limit=0, **options):
        settings = dataclasses.replace(self.settings(), **options)
        return seeder.Seeder(
            'guest',
            seeds or (self.seed(),),
            settings,
            limit,
            lambda disk, piece: self.arrived.append((disk, piece)),
        )

    def run_it(self, made):
        made.run(
            self.cancelled,
            lambda state, disks: self.reports.append(
                progress.Progress(state=state, disks=disks)
            ),
        )

    def refused(self, kind, made):
        error = self.assertRaises(kind, self.run_it, made)
        self.assertIs(kind, type(error))
        return str(error)

    def came(self, disk='vda'):
        return extents.joined(
            piece for name, piece in self.arrived if name == disk
        )

    def assert_all_came(self, *seeds):
        for seed in seeds:
            self.assertEqual(
                extents.outside(seed.size_bytes, ()), self.came(seed.disk)
            )
            pieces = [
                piece for disk, piece in self.arrived if disk == seed.disk
            ]
            self.assertEqual(seed.size_bytes, extents.total(pieces))

    def test_all_of_each_disk_comes_once(self):
        seeds = (self.seed(size=5 * UNIT + 512), self.seed('vdb', 3 * UNIT))
        self.run_it(self.make(*seeds))
        self.assert_all_came(*seeds)
        self.assertEqual(9, len(self.tried))
        last = self.reports[-1]
        self.assertEqual(states.State.SEEDING, last.state)
        self.assertEqual(8 * UNIT + 512, last.processed_bytes)
        self.assertEqual(0, last.remaining_bytes)

    def test_what_is_zeroes_is_there_when_the_file_is_made(self):
        seed = self.seed(extents=(Extent(offset=UNIT, length=MIB),))
        self.run_it(self.make(seed))
        self.assert_all_came(seed)
        self.assertEqual(
            [('vda', Extent(offset=UNIT, length=MIB), 0, True)], self.tried
        )
        self.assertEqual(
            bytes(100), (self.directory / 'vda').read_bytes()[:100]
        )

    def test_zeroes_are_written_to_what_may_hold_anything(self):
        seed = self.seed(
            extents=(Extent(offset=UNIT, length=MIB),),
            target=samples.image(),
        )
        self.run_it(self.make(seed))
        self.assert_all_came(seed)
        self.assertEqual(
            seed.size_bytes, sum(piece.length for _, piece, _, _ in self.tried)
        )
        self.assertEqual({False}, {zeroed for *_, zeroed in self.tried})

    def test_what_is_there_already_is_left_as_it_is(self):
        seed = self.seed(
            extents=(Extent(offset=UNIT, length=MIB),), afresh=False
        )
        self.run_it(self.make(seed))
        with open(self.directory / 'vda', 'rb') as f:
            self.assertEqual(b'old', f.read(3))
        self.assertEqual(
            [('vda', Extent(offset=UNIT, length=MIB), 0, False)], self.tried
        )

    def test_nothing_at_all(self):
        self.run_it(self.make(self.seed(extents=(), afresh=False)))
        self.assertEqual([], self.tried)

    def test_a_target_that_cannot_be_made_ready(self):
        seed = self.seed()
        (self.directory / 'vda').unlink()
        self.assertIn(
            'vda', self.refused(exception.ImageError, self.make(seed))
        )

    def test_a_qcow2_is_written_by_one_at_a_time(self):
        target = dataclasses.replace(
            self.seed('vdb').target, format=samples.QCOW2
        )
        export = samples.content('vdb')
        one = self.seed('vdb', 6 * UNIT, target=target, export=export)
        ready = threading.Barrier(2)

        def on_piece(disk, _piece):
            if disk == 'vda':
                ready.wait(30)

        self.on_piece = on_piece
        self.run_it(self.make(one, self.seed(), seed_workers=4))
        self.assert_all_came(one, self.seed())
        self.assertEqual(1, self.most_busy['vdb'])
        self.assertGreater(self.most_busy['vda'], 1)

    def test_the_limit_is_shared(self):
        limit = 16 * MIB
        self.run_it(self.make(limit=limit, seed_workers=4))
        rates = [rate for _, _, rate, _ in self.tried]
        self.assertEqual(limit // 4, rates[0])
        # the last one need not share it any more
        self.assertLessEqual(max(rates), limit)
        self.assertNotIn(0, rates)
        self.assert_all_came(self.seed())

    def test_it_is_all_for_one_if_there_is_one(self):
        seed = self.seed(size=UNIT)
        self.run_it(self.make(seed, limit=4 * MIB))
        self.assertEqual(
            [(MIB * 8, MIB * 4)] * 8,
            [(piece.length, rate) for _, piece, rate, _ in self.tried],
        )

    def test_a_limit_below_one_byte_each_is_none_of_zero(self):
        self.run_it(self.make(self.seed(size=2 * UNIT), limit=1))
        self.assertEqual({1}, {rate for _, _, rate, _ in self.tried})

    def test_the_limit_can_be_changed_and_lifted(self):
        made = self.make(limit=2 * MIB, seed_workers=1)
        limits = [4 * MIB, 0]

        def on_piece(_disk, _piece):
            if limits:
                made.set_limit(limits.pop(0))

        self.on_piece = on_piece
        self.run_it(made)
        self.assertEqual(
            [2 * MIB, 4 * MIB, 0],
            [rate for _, _, rate, _ in self.tried][:3],
        )
        self.assertEqual({0}, {rate for _, _, rate, _ in self.tried[2:]})
        self.assert_all_came(self.seed())

    def test_a_piece_that_fails_once_is_carried_again(self):
        failed: list[model.Extent] = []

        def on_piece(_disk, piece):
            if piece.offset == 3 * UNIT and not failed:
                failed.append(piece)
                raise broken()

        self.on_piece = on_piece
        self.run_it(self.make(seed_workers=1))
        self.assertEqual(1, len(failed))
        self.assert_all_came(self.seed())
        self.assertIn('it broke', self.log.output)

    def test_a_piece_that_always_fails_ends_it(self):
        def on_piece(_disk, piece):
            if piece.offset == 3 * UNIT:
                raise broken('no more')

        self.on_piece = on_piece
        said = self.refused(
            exception.SeedFailed, self.make(stall_timeout=0.05, seed_workers=1)
        )
        self.assertIn('no more', said)
        self.assertIn('vda', said)
        self.assertEqual((Extent(offset=0, length=3 * UNIT),), self.came())
        self.assertGreater(len(self.tried), 4)

    def fail_the_last(self, *messages):
        """Have the last piece fail with each message in turn, and again."""
        said = itertools.cycle(messages)

        def on_piece(_disk, piece):
            if piece.offset == 3 * UNIT:
                if len(self.tried) > 3 + 11:
                    self.cancelled.set()
                raise broken(next(said))

        self.on_piece = on_piece

    def test_the_same_failure_again_and_again_ends_it(self):
        self.fail_the_last('not a multiple of 512')
        # no time limit would end it
        self.refused(exception.SeedFailed, self.make(seed_workers=1))
        self.assertEqual(3 + 11, len(self.tried))

    @ddt.data(
        ('Failed to connect to 192.0.2.1',),
        ('Input/output error',),
        ('one', 'another'),
    )
    def test_other_failures_are_tolerated_for_longer(self, messages):
        self.fail_the_last(*messages)
        self.refused(exception.Aborted, self.make(seed_workers=1))
        self.assertGreater(len(self.tried), 3 + 11)

    def test_a_first_piece_that_fails_ends_it_at_once(self):
        def on_piece(_disk, _piece):
            raise broken('refused')

        self.on_piece = on_piece
        said = self.refused(exception.SeedFailed, self.make(seed_workers=1))
        self.assertIn('refused', said)

    def test_a_target_without_space_ends_it_at_once(self):
        def on_piece(_disk, piece):
            if piece.offset:
                raise broken(f'qemu-img: {os.strerror(errno.ENOSPC)}')

        self.on_piece = on_piece
        said = self.refused(exception.SeedFailed, self.make(seed_workers=1))
        self.assertIn('No space left', said)
        self.assertEqual(2, len(self.tried))

    def test_a_target_that_may_not_be_opened_ends_it_at_once(self):
        def on_piece(_disk, _piece):
            raise exception.HeaderError(path='/target', reason='it is odd')

        self.on_piece = on_piece
        said = self.refused(exception.SeedFailed, self.make(seed_workers=1))
        self.assertIn('disk vda failed: Image /target: it is odd', said)
        self.assertEqual(1, len(self.tried))
        self.assertNotIn('unexpectedly', self.log.output)

    def test_an_error_that_nobody_thought_of_ends_it(self):
        def on_piece(_disk, _piece):
            raise SystemError('odd')

        self.on_piece = on_piece
        self.assertIn('odd', self.refused(exception.SeedFailed, self.make()))

    def test_on_request_it_ends_and_nobody_works_any_more(self):
        made = self.make(self.seed(size=1000 * UNIT), seed_workers=4)

        def on_piece(_disk, _piece):
            self.cancelled.set()
            waiting.until(lambda: made._ended, timeout=30, interval=0.001)

        self.on_piece = on_piece
        before = set(threading.enumerate())
        self.refused(exception.Aborted, made)
        self.assertEqual(set(), set(threading.enumerate()) - before)
        self.assertEqual({'vda': 0}, self.busy)
        # what was begun has been brought to its end
        self.assertLessEqual(len(self.tried), 4)
        self.assertEqual(len(self.tried), len(self.arrived))

    def test_a_piece_is_told_of_only_when_it_is_there(self):
        def on_piece(_disk, piece):
            self.assertNotIn(('vda', piece), self.arrived)
            if piece.offset == UNIT:
                raise broken()

        self.on_piece = on_piece
        self.refused(exception.SeedFailed, self.make(stall_timeout=0.01))
        self.assertNotIn(UNIT, [piece.offset for _, piece in self.arrived])
