# SPDX-License-Identifier: Apache-2.0
"""Seeding keeps to its limit, whatever the pieces do."""

import threading
import time
from unittest import mock

import ddt

from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy.copies import seeder
from nova_blockcopy.host import command
from nova_blockcopy.host import transfer
from nova_blockcopy.tests.unit import base

MIB = 1024 * 1024


def seed(disk, size, kind=model.ImageKind.BLOCK):
    image = model.Image(
        path=f'/{disk}', kind=kind, format=model.ImageFormat.RAW
    )
    return model.Seed(
        disk=disk,
        source=image,
        target=image,
        export=model.Export(
            disk=disk, address='', port=0, name='', size_bytes=size, pid=0
        ),
        extents=extents.outside(size, ()),
        size_bytes=size,
    )


@ddt.ddt
class TestSeeder(base.TestCase):
    def setUp(self):
        super().setUp()
        self.door = threading.Lock()
        self.rates = []
        self.most = 0
        self.pieces = []
        self.took = 0.0  # seconds that a piece takes
        patched = mock.patch.object(transfer, 'run', self.transfer)
        patched.start()
        self.addCleanup(patched.stop)

    def transfer(self, one, piece, *, rate, zeroed, encryption, timeout):
        with self.door:
            self.rates.append(rate)
            self.most = max(self.most, sum(self.rates))
        time.sleep(self.took)
        with self.door:
            self.rates.remove(rate)
            self.pieces.append((one.disk, piece))

    def run_it(self, *seeds, limit=0, **options):
        it = seeder.Seeder(
            'guest',
            seeds,
            self.settings(**options),
            limit,
            lambda _disk, _piece: None,
        )
        it.run(threading.Event(), lambda _state, _disks: None)
        return it

    def test_all_of_each_is_copied_once(self):
        one, other = seed('vda', 150 * MIB), seed('vdb', 20 * MIB)
        self.run_it(one, other)
        for each in (one, other):
            found = [p for disk, p in self.pieces if disk == each.disk]
            self.assertEqual(each.size_bytes, extents.total(found))
            self.assertEqual(each.extents, extents.joined(found))

    @ddt.data(
        # one lane, and two pieces of it that could travel side by side
        (16 * MIB, 2 * MIB),
        # more workers than there are lanes in the end
        (320 * MIB, 400 * MIB),
        (130 * MIB, 160 * MIB),
    )
    @ddt.unpack
    def test_all_pieces_under_way_keep_to_the_limit(self, size, limit):
        self.took = 0.01
        with mock.patch.object(seeder.Seeder, '_give_back', _at_once):
            self.run_it(seed('vda', size), limit=limit)
        self.assertLessEqual(self.most, limit)
        self.assertGreater(self.most, limit // 2)

    def test_pieces_that_pass_at_once_do_not_add_up(self):
        began = time.monotonic()
        # four at a time, of a quarter of a second each
        self.run_it(seed('vda', 768 * MIB), limit=1024 * MIB)
        self.assertGreater(time.monotonic() - began, 0.4)

    def test_without_a_limit_nobody_waits(self):
        self.run_it(seed('vda', 256 * MIB))
        self.assertEqual({0}, {self.most})

    def test_a_failure_at_first_is_told_at_once(self):
        def fail(*_args, **_more):
            raise command.CommandFailed(command='qemu-img', reason='no')

        with mock.patch.object(transfer, 'run', fail):
            error = self.assertRaises(
                exception.SeedFailed, self.run_it, seed('vda', MIB)
            )
        self.assertIn('qemu-img', str(error))

    def test_on_request_it_ends(self):
        cancelled = threading.Event()
        self.took = 0.01

        def report(_state, _disks):
            cancelled.set()

        it = seeder.Seeder(
            'guest',
            [seed('vda', 8192 * MIB)],
            self.settings(),
            0,
            lambda _disk, _piece: None,
        )
        self.assertRaises(exception.Aborted, it.run, cancelled, report)


def _at_once(it, rate, _until):
    with it._changed:
        it._used -= rate
        it._changed.notify_all()
