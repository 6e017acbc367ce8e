# SPDX-License-Identifier: Apache-2.0
"""Facts about real image files."""

import errno
import fcntl
import os
import struct
import subprocess
import threading
import time
from unittest import mock

import ddt

from nova_blockcopy import model
from nova_blockcopy.host import images
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import base

MIB = base.MIB


class TestReserve(base.ImageTestCase):
    def test_a_file_with_holes(self):
        path = self.raw(content=b"x", size=4 * MIB).path
        images.reserve(path, 4 * MIB, 30)
        found = os.stat(path)
        self.assertEqual(4 * MIB, found.st_size)
        self.assertLessEqual(4 * MIB, found.st_blocks * 512)

    def test_no_room(self):
        said = self.refused(
            lambda path: images.reserve(path, 1 << 60, 30), self.raw().path
        )
        self.assertIn('fallocate', said)


class TestKind(base.ImageTestCase):
    def test_a_file(self):
        self.assertEqual(samples.FILE, images.kind(self.raw().path))

    def test_neither_nor(self):
        self.assertIn('neither', self.refused(images.kind, '/dev/null'))
        self.assertIn('neither', self.refused(images.kind, self.path('')))

    def test_nothing(self):
        path = self.path('missing')
        said = self.refused(images.kind, path)
        self.assertIn('does not exist', said)
        self.assertIn(path, said)

    def test_not_to_be_looked_at(self):
        inside = f'{self.raw().path}/inside'
        self.assertIn('cannot be read', self.refused(images.kind, inside))

    def test_a_block_device(self):
        with mock.patch.object(
            os, 'stat', autospec=True, return_value=base.block_device(7)
        ):
            self.assertEqual(samples.BLOCK, images.kind('/dev/x'))


class TestDescribe(base.ImageTestCase):
    def test_raw_is_not_looked_into(self):
        image = self.qcow2()
        self.assertEqual(
            samples.image(image.path, samples.FILE),
            images.describe(image.path, samples.RAW),
        )

    def test_one_layer(self):
        image = self.qcow2()
        self.assertEqual(image, images.describe(image.path, samples.QCOW2))

    def test_three_layers_by_relative_names(self):
        bottom = self.raw('bottom')
        middle = self.qcow2(
            'middle', '-b', 'bottom', '-F', 'raw', backing=bottom
        )
        top = self.qcow2('top', '-b', 'middle', '-F', 'qcow2', backing=middle)
        self.assertEqual(top, images.describe(top.path, samples.QCOW2))

    def test_a_layer_of_another_format(self):
        top = self.qcow2('top', '-u', '-b', 'x', '-F', 'vpc')
        said = self.refused(images.describe, top.path, samples.QCOW2)
        self.assertIn('qemu-img rebase', said)

    def test_a_layer_that_is_not_there(self):
        top = self.qcow2('top', '-u', '-b', 'gone', '-F', 'raw')
        said = self.refused(images.describe, top.path, samples.QCOW2)
        self.assertIn(self.path('gone'), said)

    def test_no_qcow2(self):
        path = self.raw().path
        said = self.refused(images.describe, path, samples.QCOW2)
        self.assertIn('does not begin with a header of qcow2', said)

    def test_data_elsewhere(self):
        top = self.qcow2('top', '-o', f'data_file={self.path("data")}')
        said = self.refused(images.describe, top.path, samples.QCOW2)
        self.assertIn('external data file', said)


class TestSize(base.ImageTestCase):
    def test_what_a_guest_sees(self):
        self.assertEqual(MIB + 512, images.size(self.raw(size=MIB + 512)))
        self.assertEqual(3 * MIB, images.size(self.qcow2('q', size=3 * MIB)))

    def test_the_length_is_of_the_container(self):
        image = self.qcow2(size=64 * MIB)
        self.assertEqual(
            os.path.getsize(image.path), images.length(image.path)
        )

    def test_nothing(self):
        said = self.refused(images.length, self.path('missing'))
        self.assertIn('does not exist', said)


@ddt.ddt
class TestAlignment(base.ImageTestCase):
    def loop(self, sector):
        """A block device with sectors of this size."""
        if os.geteuid():
            self.skipTest('only root can make a block device')
        found = subprocess.run(
            [
                *('losetup', '--find', '--show'),
                *('--sector-size', str(sector), self.raw().path),
            ],
            capture_output=True,
            text=True,
        )
        if found.returncode:
            self.skipTest(f'no loop device is to be had: {found.stderr}')
        path = found.stdout.strip()
        self.addCleanup(self.run_command, 'losetup', '--detach', path)
        return path

    def test_that_of_a_file_is_a_page(self):
        self.assertEqual(
            os.sysconf('SC_PAGESIZE'), images.alignment(self.raw().path)
        )

    @ddt.data(512, 4096)
    def test_that_of_a_device_is_its_sector(self, sector):
        self.assertEqual(sector, images.alignment(self.loop(sector)))

    @ddt.data(512, 4096)
    def test_that_of_a_device_as_the_kernel_tells_it(self, sector):
        asked = []

        def ioctl(_file, request, _room):
            asked.append(request)
            return struct.pack('i', sector)

        with (
            mock.patch.object(
                os, 'fstat', autospec=True, return_value=base.block_device(7)
            ),
            mock.patch.object(fcntl, 'ioctl', new=ioctl),
        ):
            self.assertEqual(sector, images.alignment('/dev/null'))
        # BLKSSZGET, the logical sector
        self.assertEqual([0x1268], asked)

    def test_nothing(self):
        path = self.path('gone')
        said = self.refused(images.alignment, path)
        self.assertIn('does not exist', said)
        self.assertIn(path, said)


@ddt.ddt
class TestCluster(base.ImageTestCase):
    def test_raw_has_none(self):
        # and is not looked into
        self.assertEqual(0, images.cluster(samples.image('/gone')))

    @ddt.data(512, 4096, 65536, 2 * MIB)
    def test_by_its_header(self, size):
        image = self.qcow2('image', '-o', f'cluster_size={size}')
        self.assertEqual(size, images.cluster(image))

    def test_of_the_top_layer(self):
        below = self.qcow2('below', '-o', 'cluster_size=4096')
        image = self.qcow2(
            *('top', '-o', 'cluster_size=8192'),
            *('-b', below.path, '-F', 'qcow2'),
            backing=below,
        )
        self.assertEqual(8192, images.cluster(image))

    def test_no_qcow2(self):
        raw = self.raw()
        image = samples.image(raw.path, samples.FILE, samples.QCOW2)
        said = self.refused(images.cluster, image)
        self.assertIn('does not begin with a header of qcow2', said)


class TestIdentity(base.ImageTestCase):
    def test_two_names_of_one_file(self):
        one = self.raw('one').path
        os.link(one, self.path('hard'))
        os.symlink(one, self.path('soft'))
        for other in ('hard', 'soft'):
            self.assertEqual(
                images.identity(one), images.identity(self.path(other))
            )

    def test_two_files_alike(self):
        self.assertNotEqual(
            images.identity(self.raw('one').path),
            images.identity(self.raw('two').path),
        )

    def test_two_nodes_of_one_device(self):
        def identity(number):
            device = base.block_device(number)
            with mock.patch.object(
                os, 'stat', autospec=True, return_value=device
            ):
                return images.identity('/dev/x')

        self.assertEqual(identity(7), identity(7))
        self.assertNotEqual(identity(7), identity(8))
        self.assertNotEqual('', identity(7).boot)


@ddt.ddt
class TestDigest(base.ImageTestCase):
    def test_of_nothing(self):
        self.assertIsNone(images.digest(None))

    @ddt.data(0, 1, 64 * 1024, 100_000, MIB)
    def test_a_hole_is_zeroes(self, size):
        hole = self.raw('hole', size=size)
        zeroes = self.raw('zeroes', bytes(size), size=size)
        self.assertEqual(images.digest(hole), images.digest(zeroes))

    def test_data_in_and_around_holes(self):
        content = bytearray(MIB)
        sparse = self.raw('sparse')
        # data that begin and end inside of what is read together
        for offset, length in ((5000, 300), (70_000, 200_000), (MIB - 1, 1)):
            content[offset : offset + length] = b'x' * length
            with open(sparse.path, 'r+b') as f:
                f.seek(offset)
                f.write(b'x' * length)
        full = self.raw('full', bytes(content))
        self.assertEqual(images.digest(full), images.digest(sparse))

    @ddt.data(0, 65_535, 65_536, 500_000, MIB - 1)
    def test_one_byte_tells(self, offset):
        content = bytearray(b'x' * MIB)
        before = images.digest(self.raw(content=bytes(content)))
        content[offset] = 0
        self.assertNotEqual(
            before, images.digest(self.raw(content=bytes(content)))
        )

    def test_where_the_data_are_tells(self):
        block = b'x' * 65_536
        self.assertNotEqual(
            images.digest(self.raw('one', block)),
            images.digest(self.raw('two', bytes(65_536) + block)),
        )

    def test_the_length_tells(self):
        self.assertNotEqual(
            images.digest(self.raw('one', b'x')),
            images.digest(self.raw('two', b'x', size=MIB + 1)),
        )

    def test_every_layer_tells(self):
        below = self.raw('below', b'x')
        top = self.raw('top', b'y')
        chain = model.Image(
            path=top.path, kind=top.kind, format=top.format, backing=below
        )
        before = images.digest(chain)
        self.assertNotEqual(before, images.digest(top))
        self.raw('below', b'z')
        self.assertNotEqual(before, images.digest(chain))

    def test_a_layer_that_is_gone(self):
        chain = samples.layered(self.raw().path, self.path('gone'))
        self.assertIn(self.path('gone'), self.refused(images.digest, chain))

    def test_other_threads_are_let_in(self):
        """Which says something where they are green: see tox.ini."""
        image = self.raw(content=b'x' * 16 * MIB, size=16 * MIB)
        turns: list[int] = []
        done = threading.Event()

        def take_turns():
            while not done.is_set():
                turns.append(len(turns))
                time.sleep(0)

        other = threading.Thread(target=take_turns)
        self.addCleanup(other.join)
        self.addCleanup(done.set)
        other.start()
        before = len(turns)
        images.digest(image)
        self.assertGreater(len(turns) - before, 10)

    def test_a_layer_that_cannot_be_read(self):
        def opened(*_arguments, **_more):
            raise PermissionError(errno.EACCES, 'Permission denied')

        image = self.raw()
        with mock.patch('builtins.open', new=opened):
            said = self.refused(images.digest, image)
        self.assertIn('Permission denied', said)


@ddt.ddt
class TestDataExtents(base.ImageTestCase):
    def found(self, image):
        found = images.data_extents(image.path)
        return [
            (extent.offset // MIB, extent.length / MIB) for extent in found
        ]

    def with_data(self, size, *offsets):
        image = self.raw(size=size)
        with open(image.path, 'r+b') as f:
            for offset in offsets:
                f.seek(offset)
                f.write(b'x' * 4096)
        return image

    @ddt.data(0, 1, 5 * MIB)
    def test_a_hole_has_none(self, size):
        self.assertEqual([], self.found(self.raw(size=size)))

    def test_they_are_rounded_and_joined(self):
        image = self.with_data(
            9 * MIB, MIB + 8192, MIB + 65536, 2 * MIB, 7 * MIB
        )
        self.assertEqual([(1, 2), (7, 1)], self.found(image))

    def test_data_over_a_boundary(self):
        image = self.with_data(9 * MIB, 2 * MIB - 512)
        self.assertEqual([(1, 2)], self.found(image))

    def test_they_end_where_the_image_ends(self):
        image = self.with_data(2 * MIB + MIB // 2, 2 * MIB)
        self.assertEqual([(2, 0.5)], self.found(image))

    def test_there_are_not_too_many(self):
        image = self.with_data(16 * MIB, *range(0, 16 * MIB, 2 * MIB))
        with mock.patch.object(images, '_MOST_EXTENTS', 3):
            found = self.found(image)
        self.assertEqual([(0, 16)], found)

    def test_a_block_device_has_data_everywhere(self):
        image = self.raw(size=3 * MIB)
        with mock.patch.object(
            images, 'kind', autospec=True, return_value=samples.BLOCK
        ):
            self.assertEqual([(0, 3)], self.found(image))

    def test_nothing(self):
        said = self.refused(images.data_extents, self.path('gone'))
        self.assertIn('does not exist', said)

    def test_a_file_system_that_fails(self):
        image = self.with_data(2 * MIB, 0)
        opened = mock.mock_open()
        opened.return_value.seek.side_effect = OSError(errno.EIO, 'I/O')
        with (
            mock.patch.object(
                images, 'length', autospec=True, return_value=2 * MIB
            ),
            mock.patch('builtins.open', new=opened),
        ):
            self.assertRaises(OSError, images.data_extents, image.path)
