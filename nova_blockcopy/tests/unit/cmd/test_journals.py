# SPDX-License-Identifier: Apache-2.0
"""The journals of migrations that have not ended."""

import os

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.records import journal
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.cmd import base

_CHECK = 'Unfinished migrations'
_OTHER = '66666666-2222-3333-4444-555555555555'


class TestJournals(base.CommandTestCase):
    def begin(self, guest, **changes):
        record = samples.record(guest=guest, **changes)
        journal.Journal(str(self.journals)).open(record)

    def damage(self, text):
        self.journals.mkdir(0o700, parents=True, exist_ok=True)
        path = self.journals / f'{samples.UUID}.json'
        path.write_text(text)
        return path

    def test_two_of_them(self):
        self.begin(samples.UUID, state=states.State.COPYING, peer='host-b')
        self.begin(_OTHER, role=model.Role.DESTINATION)
        self.assert_only(
            self.check(self.file()),
            *(_CHECK, base.WARNING, '2 unfinished', 'both hosts'),
            f'{samples.UUID} (state copying, this host is the source, the '
            f'other host is host-b)',
            f'{_OTHER} (state preparing, this host is the destination',
        )

    def test_a_damaged_one(self):
        path = self.damage('{')
        self.begin(_OTHER)
        self.assert_only(
            self.check(self.file()),
            *(_CHECK, base.FAILURE, '1 unfinished', '1 with a journal', path),
        )

    def test_one_of_another_version(self):
        self.damage('{"version": 1}')
        self.assert_only(
            self.check(self.file()),
            *(_CHECK, base.FAILURE, 'another version', samples.UUID),
        )

    def test_the_directory_cannot_be_read(self):
        def listdir(path):
            raise PermissionError(13, os.strerror(13), path)

        self.stub('os.listdir', listdir)
        self.assert_only(
            self.check(self.file()),
            *(_CHECK, base.WARNING, 'not checked', 'Permission denied'),
        )
