# SPDX-License-Identifier: Apache-2.0
"""Pieces by a real qemu-img, from a real qemu-nbd."""

import dataclasses
import os
import subprocess

import ddt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import command
from nova_blockcopy.host import images
from nova_blockcopy.host import transfer
from nova_blockcopy.model import Extent
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import servers

MIB = 1024 * 1024
PIECES = (Extent(offset=0, length=MIB), Extent(offset=MIB, length=MIB))


@ddt.ddt
class TestTransfer(base.TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(servers.Orphans())
        self.content = b'a' * MIB + bytes(MIB // 2) + b'b' * (MIB // 2)
        path = self.directory / 'source,raw'
        path.write_bytes(self.content)
        self.image = samples.image(str(path), samples.FILE)
        first = servers.free_port()
        self.exporter = servers.exporter(self.directory, first, 30)
        self.target = self.directory / 'target,raw'
        self.target.write_bytes(b'?' * 3 * MIB)

    def seed(self, image=None, content=False, **changes):
        image = image or self.image
        name = f'unit-{os.getpid()}-{self.directory.name}'
        started = self.exporter.start(
            servers.planned(name, content=content), image
        )
        self.addCleanup(self.exporter.stop, [started])
        values = {
            'disk': 'vda',
            'source': image,
            'target': samples.image(str(self.target), samples.FILE),
            'export': started,
            'extents': PIECES,
            'size_bytes': started.size_bytes,
            **changes,
        }
        return model.Seed(**values)

    def qemu(self, *argv):
        return subprocess.run(argv, check=True, capture_output=True).stdout

    def carry(self, seed, zeroed=False, rate=0):
        for piece in PIECES:
            transfer.run(
                seed,
                piece,
                rate=rate,
                zeroed=zeroed,
                encryption=None,
                timeout=30,
            )

    @ddt.data(0, 100 * MIB)
    def test_bytes_as_they_are(self, rate):
        seed = self.seed()
        self.assertTrue(transfer.begin(seed, seed.size_bytes))
        self.assertEqual(bytes(2 * MIB), self.target.read_bytes())
        self.carry(seed, zeroed=True, rate=rate)
        self.assertEqual(self.content, self.target.read_bytes())
        # what is zeroes is a hole
        self.assertLess(self.target.stat().st_blocks * 512, 2 * MIB)

    def test_over_what_is_there(self):
        seed = self.seed()
        with open(self.target, 'r+b') as f:
            f.truncate(2 * MIB)
        self.carry(seed)
        self.assertEqual(self.content, self.target.read_bytes())

    @ddt.data(MIB, 3 * MIB)
    def test_a_source_that_has_another_length_now(self, length):
        seed = self.seed(afresh=False)
        self.target.write_bytes(self.content[:MIB])
        os.truncate(self.target, length)
        transfer.fit(seed)
        self.carry(seed)
        self.assertEqual(self.content, self.target.read_bytes())

    def test_a_container_that_ends_within_a_sector(self):
        """As a delta does that nothing was written to."""
        path = str(self.directory / 'fresh.qcow2')
        self.qemu('qemu-img', 'create', '-f', 'qcow2', path, '64M')
        self.assertNotEqual(0, os.path.getsize(path) % 512)
        image = samples.image(path, samples.FILE, samples.QCOW2)
        seed = self.seed(image)
        whole = Extent(offset=0, length=seed.size_bytes)
        self.assertEqual((whole,), images.data_extents(path))
        transfer.begin(seed, seed.size_bytes)
        transfer.run(
            seed, whole, rate=0, zeroed=True, encryption=None, timeout=30
        )
        with open(path, 'rb') as f:
            self.assertEqual(f.read(), self.target.read_bytes())

    def test_one_that_cannot_be_resized(self):
        seed = self.seed()
        self.target.unlink()
        error = self.assertRaises(exception.ImageError, transfer.fit, seed)
        self.assertIn(str(self.target), str(error))

    def test_one_piece_leaves_the_others(self):
        seed = self.seed()
        self.target.write_bytes(b'?' * 2 * MIB)
        transfer.run(
            seed, PIECES[1], rate=0, zeroed=False, encryption=None, timeout=30
        )
        self.assertEqual(
            b'?' * MIB + self.content[MIB:], self.target.read_bytes()
        )

    def layered(self):
        """What a guest sees is in two layers."""
        path = str(self.directory / 'top,qcow2')
        self.qemu(
            *('qemu-img', 'create', '-q', '-f', 'qcow2', path),
            *('-b', self.image.path, '-F', 'raw'),
        )
        self.qemu('qemu-io', '-f', 'qcow2', '-c', 'write -P 122 1M 4k', path)
        self.content = (
            self.content[:MIB] + b'z' * 4096 + self.content[MIB + 4096 :]
        )
        return samples.image(path, samples.FILE, samples.QCOW2, self.image)

    def test_all_layers_into_a_raw_base(self):
        seed = self.seed(self.layered(), content=True)
        self.assertEqual(2 * MIB, seed.size_bytes)
        self.assertFalse(transfer.is_serial(seed))
        self.assertTrue(transfer.begin(seed, seed.size_bytes))
        self.carry(seed, zeroed=True)
        self.assertEqual(self.content, self.target.read_bytes())

    def test_all_layers_into_a_qcow2(self):
        self.qemu(
            *('qemu-img', 'create', '-q', '-f', 'qcow2'),
            *(str(self.target), '2M'),
        )
        seed = self.seed(
            self.layered(),
            content=True,
            target=samples.image(
                str(self.target), samples.FILE, samples.QCOW2
            ),
        )
        self.assertTrue(transfer.is_serial(seed))
        # what is in it is not what a guest sees of it
        self.assertFalse(transfer.begin(seed, seed.size_bytes))
        self.carry(seed)
        raw = self.directory / 'raw'
        self.qemu(
            *('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw'),
            *(str(self.target), str(raw)),
        )
        self.assertEqual(self.content, raw.read_bytes())

    def test_a_qcow2_that_keeps_its_data_in_another_file(self):
        """qemu-img would write the content into the other file."""
        victim = self.directory / 'victim'
        self.target.unlink()
        self.qemu(
            *('qemu-img', 'create', '-q', '-f', 'qcow2', '-o'),
            *(f'data_file={victim},data_file_raw=on', str(self.target), '2M'),
        )
        before = victim.read_bytes()
        seed = self.seed(
            self.layered(),
            content=True,
            target=samples.image(
                str(self.target), samples.FILE, samples.QCOW2
            ),
        )
        error = self.assertRaises(exception.HeaderError, self.carry, seed)
        self.assertIn('external data file', str(error))
        self.assertEqual(before, victim.read_bytes())

    def test_a_qcow2_as_it_is_needs_no_turns(self):
        target = samples.image(str(self.target), samples.FILE, samples.QCOW2)
        self.assertFalse(transfer.is_serial(self.seed(target=target)))

    def test_a_block_device_is_not_emptied(self):
        seed = self.seed(target=samples.image())
        self.assertFalse(transfer.begin(seed, 5))

    def test_only_what_a_delta_is_brought_to_is_made(self):
        seed = self.seed()
        self.target.unlink()
        error = self.assertRaises(
            exception.ImageError, transfer.begin, seed, 5
        )
        self.assertIn(str(self.target), str(error))
        seed = dataclasses.replace(seed, delta=True)
        self.assertTrue(transfer.begin(seed, 5))
        self.assertEqual(bytes(5), self.target.read_bytes())

    def test_an_export_that_is_gone(self):
        seed = self.seed()
        self.exporter.stop([seed.export])
        error = self.assertRaises(command.CommandFailed, self.carry, seed)
        self.assertIn('qemu-img', str(error))
        self.assertEqual(b'?' * 3 * MIB, self.target.read_bytes())

    @ddt.data(command.CommandFailed, exception.ChildrenIgnored)
    def test_one_that_is_killed_in_mid_piece(self, kind):
        """Also where its status is lost: nobody calls the piece complete."""
        seed = self.seed()
        self.program('qemu-img', 'kill -9 $$')
        if kind is exception.ChildrenIgnored:
            self.ignore_children()
        self.assertRaises(kind, self.carry, seed)
