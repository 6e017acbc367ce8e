# SPDX-License-Identifier: Apache-2.0
"""Overlays by a real qemu-img."""

import errno
import os
import subprocess

import ddt
import fixtures

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import deltas
from nova_blockcopy.host import images
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

MIB = 1024 * 1024
TIB = MIB * MIB


@ddt.ddt
class TestCluster(base.TestCase):
    @ddt.data(
        (MIB, 4096),
        (8 * TIB, 4096),
        (8 * TIB + 512, 8192),
        (32 * TIB, 8192),
        (32 * TIB + 512, 16384),
    )
    @ddt.unpack
    def test_as_small_as_qemu_takes_it(self, size, cluster):
        self.assertEqual(cluster, deltas.cluster(size))
        smallest = ['-o', f'cluster_size={cluster}']
        self.assertTrue(self.makes(size, *smallest))
        if cluster > 4096:
            too_small = ['-o', f'cluster_size={cluster // 2}']
            self.assertFalse(self.makes(size, *too_small))

    def makes(self, size, *options):
        made = subprocess.run(
            [
                *('qemu-img', 'create', '-q', '-f', 'qcow2', *options),
                *(str(self.directory / 'large'), str(size)),
            ],
            check=False,
            capture_output=True,
        )
        return made.returncode == 0


class TestOverlay(base.TestCase):
    def setUp(self):
        super().setUp()
        self.base = samples.image(self.path('base,raw'), samples.FILE)
        with open(self.base.path, 'wb') as f:
            f.write(b'x' * MIB)
        self.top = model.overlay(self.path('top'), self.base)

    def path(self, name):
        return str(self.directory / name)

    def create(self, image=None):
        deltas.create(image or self.top, MIB, 30)

    def write(self, image, text, offset):
        what = f'write -q -P {ord(text)} {offset} 4k'
        subprocess.run(
            ['qemu-io', '-f', 'qcow2', '-c', what, image.path], check=True
        )

    def content(self):
        with open(self.base.path, 'rb') as f:
            return f.read()

    def refused(self, call, *arguments):
        error = self.assertRaises(exception.ImageError, call, *arguments)
        self.assertIn(self.directory.name, str(error))
        return str(error)

    def test_it_declares_what_it_lies_on(self):
        self.create()
        self.assertEqual(
            self.top, images.describe(self.top.path, samples.QCOW2)
        )
        self.assertEqual(MIB, images.size(self.top))

    def test_one_that_cannot_be_made(self):
        top = model.overlay(self.path('gone/top'), self.base)
        self.refused(self.create, top)

    def test_it_is_merged_with_all_between_and_keeps_what_it_has(self):
        over = model.overlay(self.path('over'), self.top)
        self.create()
        self.write(self.top, 'y', 0)
        self.create(over)
        self.write(over, 'z', 8192)
        for _time in range(2):
            deltas.commit(over, self.base, 30)
            self.assertEqual(
                (b'y' * 4096 + b'x' * 4096 + b'z' * 4096).ljust(MIB, b'x'),
                self.content(),
            )
        self.assertTrue(os.path.exists(self.top.path))

    def test_one_that_does_not_exist_has_been_merged(self):
        deltas.commit(self.top, self.base, 30)
        self.assertEqual(b'x' * MIB, self.content())

    def test_one_that_cannot_be_merged_stays(self):
        self.create()
        os.truncate(self.top.path, 100)
        self.refused(deltas.commit, self.top, self.base, 30)
        self.assertTrue(os.path.exists(self.top.path))

    def test_it_can_be_put_on_what_lies_here(self):
        elsewhere = model.overlay(
            self.top.path, samples.image('/elsewhere', samples.FILE)
        )
        self.create(elsewhere)
        for _time in range(2):
            deltas.stand_on(self.top, 30)
            self.assertEqual(
                self.top, images.describe(self.top.path, samples.QCOW2)
            )
        self.refused(
            deltas.stand_on, model.overlay(self.path('no'), self.base), 30
        )

    def test_removed_twice(self):
        self.create()
        for _time in range(2):
            deltas.remove([self.top.path, self.path('never')])
            self.assertFalse(os.path.exists(self.top.path))

    def test_retired_and_removed(self):
        self.create()
        for _time in range(2):
            deltas.retire(self.top.path)
            self.assertEqual((), tuple(deltas.present([self.top.path])))
        before = os.listdir(self.directory)
        deltas.remove([self.top.path])
        self.assertEqual(len(before) - 1, len(os.listdir(self.directory)))

    def test_what_it_occupies(self):
        self.create()
        before = deltas.allocated(self.top.path)
        self.write(self.top, 'y', 0)
        self.assertGreater(deltas.allocated(self.top.path), before)
        self.assertLess(before, MIB)
        self.refused(deltas.allocated, self.path('no'))

    def test_the_time_to_merge_it_grows_with_it(self):
        self.assertEqual(7, deltas.time_limit(7, []))
        with open(self.path('large'), 'wb') as f:
            f.write(b'x' * 12 * MIB)
        self.assertEqual(7 + 6, deltas.time_limit(7, [self.path('large')] * 2))
        self.refused(deltas.time_limit, 7, [self.path('no')])


class TestDirectory(base.TestCase):
    def test_it_is_made(self):
        directory = self.directory / 'deep' / 'new'
        deltas.prepare(str(directory))
        self.assertTrue(directory.is_dir())

    def test_something_is_in_the_way(self):
        file = self.directory / 'file'
        file.write_text('')
        error = self.assertRaises(
            exception.UnsafeDirectory, deltas.prepare, str(file)
        )
        self.assertIn(f'{file}: Not a directory', str(error))
        self.assertIn('[blockcopy] delta_dir', str(error))


class TestDirect(base.TestCase):
    """Past the page cache, which not each file system allows."""

    def setUp(self):
        super().setUp()
        self.image = self.directory / 'image'
        self.image.touch()

    def refuse_direct(self):
        """Be on a file system without O_DIRECT."""
        real = os.open

        def refusing(path, flags, *more, **options):
            if flags & os.O_DIRECT:
                raise OSError(errno.EINVAL, 'Invalid argument')
            return real(path, flags, *more, **options)

        self.useFixture(fixtures.MonkeyPatch('os.open', refusing))

    def test_a_directory(self):
        deltas.check_direct(str(self.directory))
        self.assertEqual([self.image], list(self.directory.iterdir()))
        self.refuse_direct()
        error = self.assertRaises(
            exception.DeltaDirRefused,
            *(deltas.check_direct, str(self.directory)),
        )
        self.assertIn('direct I/O', str(error))
        self.assertEqual([self.image], list(self.directory.iterdir()))

    def test_an_image(self):
        images.check_direct(str(self.image))
        self.refuse_direct()
        error = self.assertRaises(
            exception.ImageError, images.check_direct, str(self.image)
        )
        self.assertIn('no direct I/O', str(error))

    def test_an_image_that_does_not_exist(self):
        error = self.assertRaises(
            exception.ImageError,
            *(images.check_direct, str(self.directory / 'none')),
        )
        self.assertIn('does not exist', str(error))

    def test_a_relative_path_is_no_path_of_an_image(self):
        error = self.assertRaises(
            exception.ImageError, images.check_direct, self.image.name
        )
        self.assertIn('absolute', str(error))
