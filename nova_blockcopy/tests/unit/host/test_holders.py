# SPDX-License-Identifier: Apache-2.0
"""Who has an image open."""

import errno
import glob
import os
import subprocess
from unittest import mock

import fixtures

from nova_blockcopy import exception
from nova_blockcopy.host import holders
from nova_blockcopy.host import images
from nova_blockcopy.host import locks
from nova_blockcopy.host import visibility
from nova_blockcopy.tests.unit.host import base


class TestHolders(base.ImageTestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MockPatchObject(holders, '_PATIENCE', 0))
        self.see(visibility.Visibility.ALL)

    def see(self, seen):
        self.useFixture(
            fixtures.MockPatchObject(visibility, '_current', lambda: seen)
        )

    def lock(self, held):
        self.useFixture(
            fixtures.MockPatchObject(locks, 'held', lambda _: held)
        )

    def test_one_that_is_there_for_a_moment_only(self):
        """As udev is after each change of a volume."""
        self.useFixture(fixtures.MockPatchObject(holders, '_PATIENCE', 60))
        looks = [{2**30}, {2**30}, set()]
        with mock.patch.object(
            holders, '_processes_holding', autospec=True, side_effect=looks
        ):
            self.assertEqual((), holders.of(self.raw().path))

    def test_a_process_and_nobody_any_more(self):
        path = self.raw().path
        with open(path, 'rb') as f:
            child = subprocess.Popen(['sleep', '600'], stdin=f)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.assertEqual((f'process {child.pid} (sleep)',), holders.of(path))
        child.kill()
        child.wait()
        self.assertEqual((), holders.of(path))

    def test_another_file_is_no_matter(self):
        path = self.raw('one').path
        with open(self.raw('two').path, 'rb') as f:
            child = subprocess.Popen(['sleep', '600'], stdin=f)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.assertEqual((), holders.of(path))

    def test_we_ourselves_are_no_holder(self):
        with open(self.raw().path, 'rb') as f:
            self.assertEqual((), holders.of(f.name))

    def test_a_loop_device(self):
        image, other = self.raw('image'), self.raw('other')
        links = []
        for name, backing in (('l1', other), ('l2', image), ('l3', None)):
            path = self.directory / name
            path.write_text(backing.path if backing else '/gone')
            links.append(str(path))
        links.insert(0, str(self.directory / 'detached-meanwhile'))
        with mock.patch.object(
            glob, 'glob', autospec=True, return_value=links
        ):
            (holder,) = holders.of(image.path)
        self.assertIn('loop device', holder)

    def test_a_process_that_has_ended_meanwhile(self):
        with mock.patch.object(
            holders, '_processes_holding', autospec=True, return_value={2**30}
        ):
            (holder,) = holders.of(self.raw().path)
        self.assertEqual(f'process {2**30} (gone)', holder)

    def holders_of_device(self, number=12345, failure=None):
        image = self.raw()
        device = base.block_device(number)
        real = os.open

        def opened(path, flags, *mode):
            if flags & os.O_EXCL and failure is not None:
                raise failure
            return real(path, flags & ~os.O_EXCL, *mode)

        with (
            mock.patch.object(images, 'status', autospec=True) as found,
            mock.patch.object(os, 'open', opened),
        ):
            found.return_value = device
            return holders.of(image.path)

    def test_a_device_that_the_kernel_holds(self):
        busy = OSError(errno.EBUSY, 'busy')
        (holder,) = self.holders_of_device(failure=busy)
        self.assertIn('the kernel', holder)

    def test_a_character_device_of_the_same_number_is_no_matter(self):
        child = subprocess.Popen(['sleep', '600'], stdin=subprocess.DEVNULL)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        number = os.stat('/dev/null').st_rdev
        self.assertEqual((), self.holders_of_device(number))

    def test_a_device_that_nobody_holds(self):
        self.assertEqual((), self.holders_of_device())

    def test_a_qemu_that_is_no_process_here(self):
        self.lock(True)
        for seen in visibility.Visibility:
            self.see(seen)
            (holder,) = holders.of(self.raw().path)
            self.assertIn('QEMU', holder)

    def test_a_process_that_is_seen_is_named_alone(self):
        """It is the one that has the locks."""
        self.lock(True)
        image = self.raw()
        with open(image.path, 'rb') as f:
            child = subprocess.Popen(['sleep', '600'], stdin=f)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        (holder,) = holders.of(image.path)
        self.assertIn('sleep', holder)

    def test_a_free_file_if_guests_are_not_seen(self):
        self.see(visibility.Visibility.OWN)
        self.assertEqual((), holders.of(self.raw().path))

    def test_locks_are_not_told(self):
        self.lock(None)
        image = self.raw()
        self.assertEqual((), holders.of(image.path))
        self.see(visibility.Visibility.OWN)
        error = self.assertRaises(exception.ImageError, holders.of, image.path)
        self.assertIn('file system', str(error))

    def test_a_free_device_if_guests_are_not_seen(self):
        self.see(visibility.Visibility.GUESTS)
        self.assertEqual((), self.holders_of_device())
        self.see(visibility.Visibility.OWN)
        error = self.assertRaises(exception.ImageError, self.holders_of_device)
        self.assertIn('block device', str(error))

    def test_a_device_in_use_if_guests_are_not_seen(self):
        self.see(visibility.Visibility.OWN)
        busy = OSError(errno.EBUSY, 'busy')
        (holder,) = self.holders_of_device(failure=busy)
        self.assertIn('the kernel', holder)
