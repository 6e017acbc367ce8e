# SPDX-License-Identifier: Apache-2.0
"""The journal of a host, from damaged files."""

import os
import pathlib

from hypothesis import given

from nova_blockcopy import wire
from nova_blockcopy.cmd import journals
from nova_blockcopy.records import journal
from nova_blockcopy.tests.fuzz import base
from nova_blockcopy.tests.fuzz import limits
from nova_blockcopy.tests.fuzz import samples
from nova_blockcopy.tests.fuzz import values

_RECORD = base.plain(wire.pack(samples.RECORD))


class TestJournal(base.TestCase):
    def setUp(self):
        super().setUp()
        self.journal = journal.Journal(str(self.directory))
        self.path = pathlib.Path(self.journal.path(samples.RECORD.guest))

    @given(values.files(_RECORD))
    def test_files(self, content):
        self.path.write_bytes(content)
        with limits.example('journal'):
            record = self.journal.find(samples.RECORD.guest)
            # a record that can be read can be written
            assert record is not None
            again = self.journal.write(record, record.state)
            assert self.journal.find(record.guest) == again
        with limits.example('journal'):
            found = journals.look(str(self.directory))
            assert len(found.unfinished) + len(found.damaged) == 1
            limits.check_message(journals.result(found).details or '')

    def test_other_things_than_files(self):
        for make in (os.mkdir, os.mkfifo, lambda path: os.symlink('x', path)):
            make(self.path)
            with limits.example('journal'):
                self.journal.tidy()
                self.journal.find(samples.RECORD.guest)
            if self.path.is_dir():
                self.path.rmdir()
            else:
                self.path.unlink()
