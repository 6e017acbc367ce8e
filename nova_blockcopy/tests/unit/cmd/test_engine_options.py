# SPDX-License-Identifier: Apache-2.0
"""The options of the engine, and the copy driver."""

import ddt

from nova_blockcopy.tests.unit.cmd import base

_CHECK = 'Options'


@ddt.ddt
class TestOptions(base.CommandTestCase):
    @ddt.data(
        ('granularity = 511', '[blockcopy] granularity'),
        ('mode = magic', '[blockcopy] mode'),
        ('export_port_min = 50000', 'export_port_max'),
        ('[libvirt]\nblock_migration_bandwidth = -1', 'bandwidth'),
    )
    @ddt.unpack
    def test_a_wrong_value(self, text, words):
        said = self.check(self.file(text))
        self.assert_said(said, _CHECK, base.FAILURE, words)
        for name in ('Journal directory', 'Delta directory'):
            self.assert_said(said, name, base.WARNING, 'not checked', 'option')

    @ddt.data('libvirt', 'virsh')
    def test_a_copy_driver(self, name):
        said = self.check(self.file(f'driver = {name}'))
        self.assertEqual(base.SUCCESS, said.code)

    def test_an_unknown_copy_driver(self):
        self.assert_only(
            self.check(self.file('driver = tape')),
            *(_CHECK, base.FAILURE, '"tape"', 'libvirt, virsh'),
        )

    def test_exports_would_be_in_clear_text(self):
        plain = 'allow_plaintext = false'
        self.assert_only(
            self.check(self.file(plain)),
            *(_CHECK, base.FAILURE, 'clear text'),
        )
        tls = '[libvirt]\nlive_migration_with_native_tls = true'
        said = self.check(self.file(f'{plain}\n{tls}'))
        self.assert_said(said, _CHECK, base.SUCCESS)
