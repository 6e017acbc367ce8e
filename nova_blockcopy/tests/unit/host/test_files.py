# SPDX-License-Identifier: Apache-2.0
"""New files that nobody else may read or write."""

import os
import stat

import ddt

from nova_blockcopy.host import files
from nova_blockcopy.tests.unit import base


@ddt.ddt
class TestCreate(base.TestCase):
    def setUp(self):
        super().setUp()
        # as in the helper process
        self.addCleanup(os.umask, os.umask(0))
        self.path = self.directory / 'new'
        self.other = self.directory / 'other'
        self.other.write_text('other')

    def create(self):
        os.close(files.create(str(self.path)))

    def test_a_new_file(self):
        self.create()
        self.assertEqual(0o600, stat.S_IMODE(self.path.stat().st_mode))

    def test_the_file_of_an_interrupted_attempt(self):
        self.path.write_text('x')
        self.path.chmod(0o666)
        self.create()
        self.assertEqual('', self.path.read_text())
        self.assertEqual(0o600, stat.S_IMODE(self.path.stat().st_mode))

    @ddt.data('symlink_to', 'hardlink_to')
    def test_a_link_to_another_file(self, link):
        getattr(self.path, link)(self.other)
        self.assertRaises(OSError, self.create)
        self.assertEqual('other', self.other.read_text())

    def test_a_pipe(self):
        os.mkfifo(self.path)
        self.assertRaises(OSError, self.create)
