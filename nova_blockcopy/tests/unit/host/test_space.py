# SPDX-License-Identifier: Apache-2.0
"""The free space of file systems."""

import os
import tempfile

from nova_blockcopy import exception
from nova_blockcopy.host import space
from nova_blockcopy.tests.unit import base

MIB = 1024 * 1024


class TestLook(base.TestCase):
    def test_a_file_and_one_that_does_not_exist(self):
        file = self.directory / 'file'
        file.write_bytes(b'x' * 3 * MIB)
        os.truncate(file, 10 * MIB)
        paths = [str(file), f'{file}.none']
        found = space.look(str(self.directory), paths)
        self.assertEqual({str(file)}, set(found.files))
        seen = found.files[str(file)]
        self.assertTrue(3 * MIB <= seen.occupied < 4 * MIB, seen)
        (system,) = found.systems
        self.assertEqual(os.stat(file).st_dev, system.device)
        self.assertEqual(seen.device, system.device)
        self.assertGreater(system.free, 0)

    def test_a_file_on_another_file_system(self):
        with tempfile.NamedTemporaryFile(dir='/dev/shm') as f:
            found = space.look(str(self.directory), [f.name])
        self.assertEqual(
            [str(self.directory), '/dev/shm'],
            [each.place for each in found.systems],
        )


class TestCheck(base.TestCase):
    def refused(self, directory, least):
        error = self.assertRaises(
            exception.NoRoom, space.check, str(directory), least
        )
        self.assertIn(str(directory), str(error))
        return str(error)

    def test_there_is_some(self):
        space.check(str(self.directory), 1)

    def test_there_is_not_enough(self):
        said = self.refused(self.directory, 2**42)
        self.assertIn(f'{2**42} MiB', said)
        self.assertIn('delta_min_free', said)

    def test_there_is_no_directory(self):
        said = self.refused(self.directory / 'none', 1)
        self.assertIn('[blockcopy] delta_dir', said)
