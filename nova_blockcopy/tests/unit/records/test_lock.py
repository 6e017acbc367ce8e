# SPDX-License-Identifier: Apache-2.0
"""Only one at a time acts on the migration of a guest."""

import os
import pathlib
import stat
import subprocess
import sys

from nova_blockcopy import exception
from nova_blockcopy.records import journal
from nova_blockcopy.records import lock
from nova_blockcopy.tests.unit import base

GUEST, OTHER = '0f' * 16, 'f0' * 16
#: Holds a lock until its input ends.
_HOLDER = """
import sys
from nova_blockcopy.records import lock
with lock.held(*sys.argv[1:]):
    print('held', flush=True)
    sys.stdin.read()
"""


class TestLock(base.TestCase):
    def setUp(self):
        super().setUp()
        self.place = str(self.directory / 'journal')

    def refused(self):
        with lock.held(self.place, GUEST):
            pass

    def test_a_second_one_is_refused(self):
        with lock.held(self.place, GUEST):
            self.assertRaises(exception.MigrationLocked, self.refused)
        self.refused()

    def test_another_guest_has_another_lock(self):
        with lock.held(self.place, GUEST), lock.held(self.place, OTHER):
            pass

    def test_one_that_was_just_given_back_is_not_taken_for_held(self):
        """The file of the last holder goes between open and lock."""
        real, path = os.open, pathlib.Path(self.place, 'locks', GUEST)

        def late(*arguments, **more):
            fd = real(*arguments, **more)
            self.patch(os, 'open', real)
            path.unlink()
            return fd

        with lock.held(self.place, OTHER):
            self.patch(os, 'open', late)
            with lock.held(self.place, GUEST):
                self.assertTrue(path.exists())
                self.assertRaises(exception.MigrationLocked, self.refused)

    def test_the_end_of_a_process_gives_it_back(self):
        holder = subprocess.Popen(
            [sys.executable, '-c', _HOLDER, self.place, GUEST],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout is not None
        self.assertEqual('held\n', holder.stdout.readline())
        self.assertRaises(exception.MigrationLocked, self.refused)
        holder.kill()
        holder.communicate()
        self.refused()

    def test_its_file_goes_and_is_private(self):
        with lock.held(self.place, GUEST):
            path = pathlib.Path(self.place, 'locks', GUEST)
            self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))
            self.assertEqual([], journal.Journal(self.place).guests())
        self.assertFalse(path.exists())

    def test_the_files_of_killed_holders_are_removed(self):
        place = pathlib.Path(self.place, 'locks')
        with lock.held(self.place, GUEST):
            (place / OTHER).touch()
            journal.Journal(self.place).tidy()
            self.assertEqual([place / GUEST], list(place.iterdir()))

    def test_a_directory_that_cannot_be_used(self):
        (self.directory / 'journal').write_text('')
        self.assertRaises(exception.JournalError, self.refused)
