# SPDX-License-Identifier: Apache-2.0
"""``list`` and ``show`` tell what the host knows."""

from nova_blockcopy import model
from nova_blockcopy.host import images
from nova_blockcopy.migration import control
from nova_blockcopy.records import keeping
from nova_blockcopy.records import received
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.cli import base

State = base.State


class TestList(base.CliTestCase):
    def test_none(self):
        self.assertEqual([], self.json('list'))

    def test_one_that_runs(self):
        record = self.begun(State.PREPARING, State.FREEZING, State.SEEDING)
        self.reported(record)
        with control.listening(
            self.site.journal.directory, record.guest, lambda _order: {}
        ):
            (row,) = self.json('list')
            table = self.said('list')
        self.assertEqual(
            {
                'Instance': samples.UUID,
                'Name': record.name,
                'Side': 'source',
                'Other host': 'host-b',
                'State': 'seeding',
                'Done': 33,
                'Rate': 2 * 2**20,
                'Left': 3.0,
            },
            row,
        )
        self.assertIn('2.00 MiB/s', table)
        self.assertIn('33%', table)

    def test_old_figures_have_no_rate(self):
        self.reported(self.begun(State.PREPARING, State.EXPORTING))
        (row,) = self.json('list')
        self.assertEqual((33, None), (row['Done'], row['Rate']))


class TestShow(base.CliTestCase):
    def failing(self, error):
        def fail(*_arguments):
            raise error

        return fail

    def show(self):
        return self.json('show', samples.UUID)

    def test_all_that_is_known(self):
        self.reported(self.begun(State.PREPARING, State.EXPORTING))
        found = self.show()
        self.assertEqual('nova-compute does not run', found['engine'])
        self.assertEqual('source (this host)', found['authoritative_copy'])
        self.assertEqual('running', found['guest_here'])
        self.assertEqual(8 * 2**20, found['limit'])
        (disk,) = found['disks']
        self.assertEqual(('vda', 'source image'), (disk['disk'], disk['uses']))
        self.assertIn('source image', self.said('show', samples.UUID))

    def test_a_nova_compute_that_tries_again(self):
        self.begun(State.PREPARING, State.UNDOING, State.STUCK)
        with control.listening(
            self.site.journal.directory, control.SERVICE, lambda _order: {}
        ):
            self.assertEqual('nova-compute tries again', self.show()['engine'])

    def test_why_the_last_attempt_has_failed(self):
        record = self.begun()
        self.site.reports.fail(record.guest, record.migration, 'no answer')
        found = self.show()
        self.assertEqual('no answer', found['failure'])
        self.assertTrue(found['last_attempt'])

    def test_a_libvirt_that_is_away(self):
        self.begun()
        error = fakes.libvirt_error(message='no socket')
        self.patch(self.connection, 'lookupByUUIDString', self.failing(error))
        self.assertIn('not known', self.show()['guest_here'])

    def test_exports_that_have_ended(self):
        export = samples.export()
        self.begun(exports=(export,))
        (found,) = self.show()['exports']
        self.assertEqual((export.disk, False), (found['disk'], found['alive']))

    def test_what_is_kept(self):
        record = self.begun(role=model.Role.DESTINATION)
        path = str(self.directory / 'base')
        with open(path, 'wb') as f:
            f.truncate(2**20)
        directory = self.site.journal.directory
        received.Book(directory, record.guest).begin(
            'vda',
            received.Received(
                identity=images.identity(path),
                base=samples.image(path, samples.FILE),
                size_bytes=2**20,
            ),
        )
        keeping.Notes(directory).write(record.guest, keeping.Note(until=0.0))
        (line,) = self.show()['kept']
        self.assertIn(f'base {path}', line)
        self.assertIn('1970-01-01T00:00:00+00:00', line)
