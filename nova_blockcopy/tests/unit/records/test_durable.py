# SPDX-License-Identifier: Apache-2.0
"""Files that are whole after a crash."""

import errno
import os
import pathlib
import stat
from unittest import mock

import ddt
import fixtures

from nova_blockcopy import exception
from nova_blockcopy.records import durable
from nova_blockcopy.tests.unit import base


@ddt.ddt
class TestDurable(base.TestCase):
    def setUp(self):
        super().setUp()
        self.path = self.directory / 'deep' / 'file.json'

    def test_written_private_and_removed(self):
        durable.write(str(self.path), {'a': [1]})
        durable.write(str(self.path), {'a': [2]})
        self.assertEqual('{\n  "a": [\n    2\n  ]\n}\n', self.path.read_text())
        self.assertEqual(0o600, stat.S_IMODE(self.path.stat().st_mode))
        for _time in range(2):
            durable.remove(str(self.path))
            self.assertEqual([], list(self.path.parent.iterdir()))

    def test_read(self):
        self.assertIsNone(durable.read(str(self.path)))
        durable.write(str(self.path), {'a': [1]})
        self.assertEqual({'a': [1]}, durable.read(str(self.path)))
        self.path.write_text('{')
        self.assertRaises(ValueError, durable.read, str(self.path))

    @ddt.data(
        *(os.mkdir, os.mkfifo),
        lambda path: os.symlink('/dev/zero', path),
        lambda path: pathlib.Path(path).write_text('null'),
        lambda path: pathlib.Path(path).write_text(''),
        lambda path: pathlib.Path(path).write_text('[' * 10**6),
        lambda path: pathlib.Path(path).write_text('{"a": NaN}'),
        lambda path: pathlib.Path(path).write_text('{"a": "1"}'),
        lambda path: pathlib.Path(path).write_bytes(b'\xff\xfe'),
        lambda path: pathlib.Path(path).write_bytes(bytes(2**24)),
    )
    def test_a_note_that_cannot_be_read(self, make):
        self.path.parent.mkdir()
        make(self.path)
        error = self.assertRaises(
            exception.NoteError, durable.load, str(self.path), dict[str, int]
        )
        said = str(error)
        self.assertTrue(said.startswith(f'The note {self.path} cannot be'))
        self.assertLess(len(said), 500)

    def test_a_note(self):
        self.assertIsNone(durable.load(str(self.path), dict[str, int]))
        durable.write(str(self.path), {'a': 1})
        self.assertEqual(
            {'a': 1}, durable.load(str(self.path), dict[str, int])
        )

    def test_nothing_is_written_that_could_not_be_read(self):
        durable.write(str(self.path), 'old')
        error = self.assertRaises(
            OSError, durable.write, str(self.path), 'x' * durable.LARGEST
        )
        self.assertEqual(errno.EFBIG, error.errno)
        self.assertEqual('old', durable.read(str(self.path)))

    def test_what_killed_writers_have_left(self):
        (self.directory / '.unfinished1').touch()
        (self.directory / '.unfinished2').mkdir()
        (self.directory / '.unfinished3').symlink_to('nowhere')
        durable.tidy(str(self.directory))
        # it is no file of a writer
        self.assertEqual(['.unfinished2'], os.listdir(self.directory))

    def test_what_fails_leaves_the_old_one_and_no_litter(self):
        durable.write(str(self.path), 'old')
        with mock.patch.object(
            os, 'replace', autospec=True, side_effect=OSError(28, 'full')
        ):
            self.assertRaises(OSError, durable.write, str(self.path), 'new')
        self.assertEqual('"old"\n', self.path.read_text())
        self.assertEqual([self.path], list(self.path.parent.iterdir()))

    def test_it_is_on_the_disk_before_it_has_its_name(self):
        self.path.parent.mkdir()
        done: list[str] = []
        for name in ('fsync', 'replace'):
            real = getattr(os, name)
            self.patch(name, real, done)
        durable.write(str(self.path), 'new')
        self.assertEqual(['fsync', 'replace', 'fsync'], done)

    def test_a_new_directory_is_in_its_parent(self):
        """Or the files would be lost with it."""
        synced: list[str] = []
        self.useFixture(
            fixtures.MockPatchObject(durable, 'sync', synced.append)
        )
        for _time in range(2):
            durable.make_directory(str(self.directory / 'a' / 'b'), 0o700)
        self.assertEqual(
            [str(self.directory), str(self.directory / 'a')], synced
        )

    def patch(self, name, real, done):
        def noted(*arguments):
            done.append(name)
            return real(*arguments)

        patcher = mock.patch.object(os, name, autospec=True, side_effect=noted)
        patcher.start()
        self.addCleanup(patcher.stop)
