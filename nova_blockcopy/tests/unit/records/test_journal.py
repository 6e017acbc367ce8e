# SPDX-License-Identifier: Apache-2.0
"""The journal: durable, private, and never half written."""

import dataclasses
import errno
import json
import os
import pathlib
import stat
from unittest import mock

import ddt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.records import journal
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

RECORD = journal.Record(
    migration='m1',
    guest=samples.UUID,
    name='guest',
    role=model.Role.DESTINATION,
    mode=model.Mode.SEEDED,
    peer='host-a',
    state=states.State.PREPARING,
    moves=(
        samples.move(),
        samples.move('vdb', base=samples.layered('/new', '/below')),
    ),
    exports=(
        samples.export(writable=True),
        samples.content(),
    ),
    pivoted=('vda',),
    limits={'vdb': {'total_iops_sec': 100}},
    live_xml='<domain/>',
)


@ddt.ddt
class TestJournal(base.TestCase):
    def setUp(self):
        super().setUp()
        self.home = self.directory / 'deep' / 'journal'
        self.journal = journal.Journal(str(self.home))
        self.path = pathlib.Path(self.journal.path(samples.UUID))

    def found(self) -> journal.Record:
        record = self.journal.find(samples.UUID)
        assert record is not None
        return record

    def test_nothing_is_there_at_first(self):
        self.assertIsNone(self.journal.find(samples.UUID))
        self.assertEqual([], self.journal.guests())
        self.journal.close(samples.UUID)

    def test_what_is_written_is_found(self):
        written = self.journal.open(RECORD)
        self.assertEqual(written, self.journal.find(samples.UUID))
        self.assertEqual([written.guest], self.journal.guests())
        self.assertEqual(
            RECORD, dataclasses.replace(written, history=RECORD.history)
        )

    def test_what_a_killed_writer_left_is_removed(self):
        self.journal.tidy()
        self.journal.open(RECORD)
        with mock.patch.object(os, 'replace', autospec=True):
            self.journal.open(dataclasses.replace(RECORD, guest='other'))
        self.assertEqual(2, len(list(self.home.iterdir())))
        self.journal.tidy()
        self.assertEqual([self.path], list(self.home.iterdir()))

    def test_every_write_is_an_entry(self):
        record = self.journal.open(RECORD)
        record = self.journal.write(record, states.State.COPYING, 'so')
        record = self.journal.write(
            dataclasses.replace(record, pivoted=()), states.State.READY
        )
        found = self.found()
        self.assertEqual(record, found)
        self.assertEqual((), found.pivoted)
        self.assertEqual(
            [('preparing', ''), ('copying', 'so'), ('ready', '')],
            [(entry.state, entry.note) for entry in found.history],
        )
        self.assertEqual(
            sorted(entry.at for entry in found.history),
            [entry.at for entry in found.history],
        )

    def test_only_its_owner_can_read_it(self):
        self.journal.open(RECORD)
        self.assertEqual(0o600, stat.S_IMODE(self.path.stat().st_mode))
        self.assertEqual(0o700, stat.S_IMODE(self.home.stat().st_mode))

    def test_an_unfinished_one_refuses_the_next(self):
        self.journal.write(self.journal.open(RECORD), states.State.COPYING)
        error = self.assertRaises(
            exception.UnfinishedMigration,
            self.journal.open,
            dataclasses.replace(RECORD, migration='m2'),
        )
        self.assertIn('copying', str(error))
        self.assertIn(str(self.path), str(error))
        self.assertEqual('m1', self.found().migration)

    def test_a_wrong_transition_changes_nothing(self):
        record = self.journal.open(RECORD)
        self.assertRaises(
            exception.InvalidTransition,
            self.journal.write,
            record,
            states.State.RELEASING,
        )
        self.assertEqual(record, self.journal.find(samples.UUID))

    def test_closed_twice_is_closed_once(self):
        self.journal.open(RECORD)
        self.journal.close(samples.UUID)
        self.journal.close(samples.UUID)
        self.assertIsNone(self.journal.find(samples.UUID))
        self.assertEqual([], list(self.home.iterdir()))

    def test_the_records_of_several_guests(self):
        other = dataclasses.replace(RECORD, guest='another')
        self.journal.open(RECORD)
        self.journal.open(other)
        self.journal.close(samples.UUID)
        self.assertEqual(['another'], self.journal.guests())

    @ddt.named_data(
        ('no JSON', '{"version": 1'),
        ('no record', '{"version": 2}'),
        ('a list', '[]'),
        ('not text', '\udcff'),
        ('null', 'null'),
        ('a list', '[]'),
        ('deep', '[' * 10**5),
    )
    def test_what_cannot_be_understood_is_an_error(self, content):
        self.home.mkdir(parents=True)
        self.path.write_bytes(content.encode(errors='surrogateescape'))
        error = self.assertRaises(
            exception.JournalError, self.journal.find, samples.UUID
        )
        self.assertIn(str(self.path), str(error))
        self.assertRaises(exception.JournalError, self.journal.open, RECORD)

    def test_one_of_another_guest(self):
        self.journal.open(RECORD)
        other = self.path.with_name('other.json')
        self.path.rename(other)
        error = self.assertRaises(
            exception.JournalError, self.journal.find, 'other'
        )
        self.assertIn(f'about guest {RECORD.guest}', str(error))

    @ddt.data({'version': 3}, {'surprise': 'x'}, {'state': 'flying'})
    def test_one_of_another_version_is_left_as_it_is(self, changes):
        self.journal.open(RECORD)
        content = json.dumps(json.loads(self.path.read_text()) | changes)
        self.path.write_text(content)
        self.assertRaises(
            exception.JournalError, self.journal.find, samples.UUID
        )
        self.assertEqual(content, self.path.read_text())

    @ddt.data('preparing', 'flattening')
    def test_one_of_before_an_upgrade_says_what_to_do(self, state):
        self.home.mkdir(parents=True)
        old = {
            'version': 1,
            'guest': samples.UUID,
            'state': state,
            'moves': [{'disk': 'vda', 'overlay': '/overlay'}],
        }
        self.path.write_text(json.dumps(old))
        for call in (
            lambda: self.journal.find(samples.UUID),
            lambda: self.journal.open(RECORD),
        ):
            error = self.assertRaises(exception.JournalError, call)
            for part in (
                *(str(self.path), 'another version', 'format 1'),
                'on both hosts again, let it settle the migration',
            ):
                self.assertIn(part, str(error))
        self.assertEqual(old, json.loads(self.path.read_text()))

    def test_a_full_disk_keeps_the_old_one_and_no_litter(self):
        record = self.journal.open(RECORD)
        full = OSError(errno.ENOSPC, 'No space left on device')
        with mock.patch.object(os, 'fsync', autospec=True, side_effect=full):
            error = self.assertRaises(
                exception.JournalError,
                self.journal.write,
                record,
                states.State.COPYING,
            )
        self.assertIn('No space left', str(error))
        self.assertEqual(record, self.journal.find(samples.UUID))
        self.assertEqual([self.path], list(self.home.iterdir()))

    def test_a_directory_that_cannot_be_made(self):
        self.home.parent.write_text('in the way')
        error = self.assertRaises(
            exception.JournalError, self.journal.open, RECORD
        )
        self.assertIn(str(self.path), str(error))

    def test_it_is_on_disk_before_it_has_its_name(self):
        record = self.journal.open(RECORD)
        seen = []

        def fsync(fd, real=os.fsync):
            state = self.found().state
            seen.append((stat.S_ISDIR(os.fstat(fd).st_mode), state))
            real(fd)

        with mock.patch.object(os, 'fsync', new=fsync):
            self.journal.write(record, states.State.COPYING)
        self.assertEqual([(False, 'preparing'), (True, 'copying')], seen)
