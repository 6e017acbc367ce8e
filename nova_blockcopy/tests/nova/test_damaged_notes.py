# SPDX-License-Identifier: Apache-2.0
"""nova-compute starts, whatever lies in the place of journals and notes."""

import itertools
import os
import pathlib

import ddt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import reconcile
from nova_blockcopy.records import received
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import reconcile_base
from nova_blockcopy.tests.unit import samples


def _file(content):
    return lambda path: pathlib.Path(path).write_bytes(content)


#: What lies there, by name.
THINGS = {
    'empty': _file(b''),
    'null': _file(b'null'),
    'cut off': _file(b'{"version": 2, "migration'),
    'binary': _file(bytes(range(256))),
    'nested': _file(b'{"a":' * 100_000),
    'a list': _file(b'[]'),
    'a number': _file(b'7'),
    'other types': _file(b'{"version": 2, "until": "x", "source": 7}'),
    'too much': _file(b' ' * 2**24),
    'a directory': os.mkdir,
    'a FIFO': os.mkfifo,
    'an endless device': lambda path: os.symlink('/dev/zero', path),
}
#: The folders of the notes, and that of the journals.
FOLDERS = ('', 'kept', 'expected', 'received', 'reports')


@ddt.ddt
class TestStart(reconcile_base.ReconcileTestCase):
    """Beside each damaged file is the journal of another guest."""

    def setUp(self):
        super().setUp()
        self.journals = pathlib.Path(self.engine.settings.journal_dir)

    def put(self, folder, make):
        path = self.journals / folder / f'{reconcile_base.OTHER}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
        if path.is_dir():  # the end of the test removes only files
            self.addCleanup(path.rmdir)
        return path

    @ddt.data(*itertools.product(FOLDERS, THINGS))
    @ddt.unpack
    def test_it_starts(self, folder, thing):
        path = self.put(folder, THINGS[thing])
        engine = self.service(self.connection)
        engine.kept.start()
        reconciler = reconcile.Reconciler(engine, self.manager)
        reconciler.run(patience=30)
        if folder == '':
            self.assertEqual({reconcile_base.OTHER}, reconciler.unreadable)
        self.said_once(engine, folder, path)

    def said_once(self, engine, folder, path):
        """One sentence names the file, when the file matters."""
        guest = reconcile_base.OTHER
        if folder == 'received':
            received.Book(str(self.journals), guest)
        if folder == 'expected':
            error = self.assertRaises(
                compat.MigrationError,
                *(engine.guard.check_start, base.instance(uuid=guest)),
                'start',
            )
            self.assertIn(str(path), str(error))
            self.assertIn('remove the note', str(error))
            self.assertRaises(
                exception.NoteError, engine.is_expected, guest, base.THERE
            )
        elif folder != 'reports':  # which decide nothing
            (line,) = (
                line
                for line in self.log.output.splitlines()
                if str(path) in line
            )
            self.assertLess(len(line), 600)
        self.assertNotIn('Traceback', self.log.output)

    def test_it_settles_the_others(self):
        for folder in FOLDERS:
            self.put(folder, os.mkfifo)
        self.engine.journal.open(base.record(model.Role.DESTINATION))
        again = self.service(self.connection)
        again.kept.start()
        reconciler = reconcile.Reconciler(again, self.manager)
        self.assertEqual(set(), reconciler.run(patience=30))
        self.assertEqual({reconcile_base.OTHER}, reconciler.unreadable)
        self.assertIsNotNone(again.journal.find(samples.UUID))

    def test_a_file_in_place_of_kept_bases(self):
        left = self.instances / f'{reconcile_base.OTHER}_kept'
        left.touch()
        self.engine.kept.start()
        self.assertIn(f'{left} is left of kept bases', self.log.output)
