# SPDX-License-Identifier: Apache-2.0
"""Files of images, long enough for their exports."""

import errno
import os
from unittest import mock

import ddt

from nova_blockcopy.host import container
from nova_blockcopy.tests.unit.host import base

MIB = base.MIB


@ddt.ddt
class TestExtend(base.ImageTestCase):
    def extended(self, image):
        size = container.extend(image, 30)
        self.assertEqual(os.path.getsize(image.path), size)
        return size

    def test_raw_is_left_as_it_is(self):
        self.assertEqual(MIB, self.extended(self.raw()))

    def test_a_guest_that_fills_it_does_not_reach_the_end(self):
        image = self.qcow2(size=8 * MIB)
        size = self.extended(image)
        self.assertGreater(size, 8 * MIB)
        self.run_command(
            *('qemu-io', '-f', 'qcow2', '-c', 'write 0 8M', image.path)
        )
        self.assertEqual(size, os.path.getsize(image.path))

    def test_a_hole_takes_no_space(self):
        image = self.qcow2(size=64 * MIB)
        before = os.stat(image.path).st_blocks
        self.extended(image)
        self.assertEqual(before, os.stat(image.path).st_blocks)

    def test_once_more_adds_nothing(self):
        image = self.qcow2(size=8 * MIB)
        self.assertEqual(self.extended(image), self.extended(image))

    def test_a_guest_that_discards_wastes_space(self):
        """QEMU skips a free cluster that is too small, and forgets it."""
        wasting = (
            *('write 0 64k', 'write 64k 64k', 'discard 0 64k'),
            *('write 128k 128k', 'discard 64k 64k', 'discard 128k 128k'),
        )
        extended = self.qcow2('extended', size=8 * MIB)
        size = self.extended(extended)
        grown = self.qcow2('grown', size=8 * MIB)
        for image in (extended, grown):
            self.run_command(
                *('qemu-io', '-f', 'qcow2', '-d', 'unmap'),
                *(word for each in wasting * 400 for word in ('-c', each)),
                image.path,
            )
        self.assertGreater(os.path.getsize(grown.path), 24 * MIB)
        self.assertEqual(size, os.path.getsize(extended.path))

    def test_a_file_system_without_such_long_files(self):
        image = self.qcow2(size=8 * MIB)
        with mock.patch.object(container, '_RESERVE', 2**62):
            size = self.extended(image)
        self.assertLess(size, 32 * MIB)

    def test_what_a_snapshot_keeps_counts_even_where_it_is_a_hole(self):
        image = self.qcow2(size=8 * MIB)
        write = ('qemu-io', '-f', 'qcow2', '-c', 'write 0 8M', image.path)
        self.run_command(*write)
        self.qemu_img('snapshot', '-c', 'kept', image.path)
        punch = ('qemu-io', '-f', 'raw', '-c', 'discard 1M 7M', image.path)
        self.run_command(*punch)
        size = self.extended(image)
        self.run_command(*write)
        self.assertEqual(size, os.path.getsize(image.path))

    @ddt.data(
        'cluster_size=512',
        'cluster_size=512,refcount_bits=64',
        'cluster_size=1024',
        'cluster_size=16384,extended_l2=on',
        'cluster_size=65536,refcount_bits=1',
        'compat=0.10',
    )
    def test_whatever_its_header_says(self, options):
        image = self.qcow2('image', '-o', options, size=32 * MIB)
        size = self.extended(image)
        # piece by piece, so that its tables grow again and again
        writes = [
            part
            for offset in range(0, 32, 2)
            for part in ('-c', f'write -q {offset}M 2M')
        ]
        self.run_command('qemu-io', '-f', 'qcow2', *writes, image.path)
        self.assertEqual(size, os.path.getsize(image.path))

    def test_whole_clusters(self):
        image = self.qcow2('image', '-o', 'cluster_size=2M', size=5 * MIB)
        self.assertEqual(0, self.extended(image) % (2 * MIB))

    def test_no_room(self):
        image = self.qcow2()
        full = OSError(errno.EFBIG, 'File too large')
        with mock.patch.object(
            os, 'truncate', autospec=True, side_effect=full
        ):
            said = self.refused(container.extend, image, 30)
        self.assertIn('File too large', said)


class TestPad(base.ImageTestCase):
    def test_a_container_that_ends_within_a_sector(self):
        image = self.qcow2('image', '-o', 'extended_l2=on', size=64 * MIB)
        before = os.path.getsize(image.path)
        self.assertNotEqual(0, before % 512)
        size = container.pad(image)
        self.assertEqual(before + -before % 512, size)
        self.assertEqual(size, os.path.getsize(image.path))
        self.qemu_img('check', '-q', image.path)

    def test_whole_sectors_stay_as_they_are(self):
        self.assertEqual(3 * 512, container.pad(self.raw(size=3 * 512)))

    def test_once_more_adds_nothing(self):
        image = self.raw(size=1000)
        self.assertEqual(1024, container.pad(image))
        self.assertEqual(1024, container.pad(image))

    def test_nothing(self):
        image = self.raw()
        os.unlink(image.path)
        self.assertIn('not exist', self.refused(container.pad, image))
