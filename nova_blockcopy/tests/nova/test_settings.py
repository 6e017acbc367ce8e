# SPDX-License-Identifier: Apache-2.0
"""The options of the engine, with defaults that fit a nova-compute."""

import ddt

from nova_blockcopy import exception
from nova_blockcopy.tests.nova import base


@ddt.ddt
class TestSettings(base.TestCase):
    def test_options_have_defaults_that_fit_nova(self):
        settings = self.service().settings
        self.assertEqual(
            f'{self.directory}/blockcopy/journal', settings.journal_dir
        )
        self.assertEqual('192.0.2.1', settings.export_address)

    @ddt.data(True, False)
    def test_exports_are_encrypted_as_migrations_are(self, native):
        self.conf.config(
            group='libvirt', live_migration_with_native_tls=native
        )
        self.assertIs(native, self.service().settings.export_tls)

    def test_exports_are_where_migrations_come_in(self):
        self.conf.config(
            group='libvirt', live_migration_inbound_addr='198.51.100.7'
        )
        self.assertEqual(
            '198.51.100.7', self.service().settings.export_address
        )

    def test_what_an_operator_sets_stays(self):
        self.conf.config(
            group='blockcopy',
            journal_dir='/j',
            export_address='203.0.113.1',
        )
        settings = self.service().settings
        self.assertEqual(
            ('/j', '203.0.113.1'),
            (settings.journal_dir, settings.export_address),
        )

    @ddt.data(
        ('delta_dir', 'instances_path', '/n/instances'),
        ('delta_dir', 'state_path', '/n/./'),
        ('journal_dir', 'instances_path', '/n/instances'),
        ('journal_dir', 'state_path', '/n'),
    )
    @ddt.unpack
    def test_a_directory_that_nova_has_files_in(self, name, other, path):
        self.conf.config(state_path='/n/state', instances_path='/n/instances')
        self.conf.config(
            group='blockcopy', delta_dir='/d/deltas', journal_dir='/d/journal'
        )
        self.conf.config(group='blockcopy', **{name: path})
        error = self.assertRaises(exception.InvalidOption, self.service)
        self.assertIn(f'[blockcopy] {name}', str(error))
        self.assertIn(f'({other})', str(error))
