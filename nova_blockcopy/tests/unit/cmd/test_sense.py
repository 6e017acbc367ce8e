# SPDX-License-Identifier: Apache-2.0
"""Options that make no sense together, and the time limits of Nova."""

import ddt

from nova_blockcopy.tests.unit.cmd import base

_SENSE, _LIMITS = 'Options together', 'Time limits'


@ddt.ddt
class TestSense(base.CommandTestCase):
    @ddt.data(
        (_SENSE, 'ready_timeout = 60', 'stall_timeout (300 s)'),
        (_SENSE, f'export_port_max = {base.PORT}', 'leave 1 ports'),
        (
            _SENSE,
            '[DEFAULT]\nmax_concurrent_live_migrations = 8',
            '8 guests may leave',
        ),
        (
            _SENSE,
            'export_tls = false\n'
            '[libvirt]\nlive_migration_with_native_tls = true',
            'Remove export_tls = false',
        ),
        (_LIMITS, 'call_timeout = 90', 'rpc_response_timeout'),
        (_LIMITS, 'switchover_timeout = 900', 'switchover_timeout to 1600'),
        (
            _LIMITS,
            '[libvirt]\nlive_migration_completion_timeout = 1000',
            'switchover_timeout to 2000',
        ),
    )
    @ddt.unpack
    def test_a_warning(self, check, text, words):
        self.assert_only(
            self.check(self.file(text)), check, base.WARNING, words
        )

    def test_clear_text_that_is_not_used(self):
        said = self.check(self.file('export_tls = true'))
        self.assert_said(
            said, _SENSE, base.WARNING, 'allow_plaintext has no effect'
        )

    def test_no_limit(self):
        text = '[libvirt]\nlive_migration_completion_timeout = 0'
        said = self.check(self.file(f'switchover_timeout = 1\n{text}'))
        self.assertEqual(base.SUCCESS, said.code)
