# SPDX-License-Identifier: Apache-2.0
"""The command as a whole: arguments, exit codes and configuration."""

import os
import pathlib

import fixtures
from oslo_config import cfg

from nova_blockcopy.cli import shell
from nova_blockcopy.cli import site
from nova_blockcopy.records import journal
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.cli import base


class TestShell(base.CliTestCase):
    def test_without_a_command_it_says_which_there_are(self):
        self.assertEqual(2, self.run_it())
        for name in ('list', 'show', 'watch', 'settle'):
            self.assertIn(name, self.err.getvalue())

    def test_an_unknown_command(self):
        self.assertEqual(2, self.run_it('frobnicate'))

    def test_a_missing_argument(self):
        self.useFixture(fixtures.MonkeyPatch('sys.stderr', self.err))
        self.assertEqual(2, self.run_it('show'))

    def test_a_stranger(self):
        for command in (
            *(('show',), ('watch',), ('limit', '5'), ('abort',)),
            *(('settle',), ('abandon',), ('adopt', '--here')),
        ):
            name, *more = command
            self.assertEqual(3, self.run_it(name, 'stranger', *more))
            self.assertIn('host-a has no migration', self.err.getvalue())

    def test_a_journal_that_cannot_be_read(self):
        record = self.begun()
        path = pathlib.Path(self.site.journal.path(record.guest))
        path.write_text('{')
        self.assertEqual(1, self.run_it('show', record.guest))
        self.assertIn('cannot be read', self.err.getvalue())
        self.assertEqual(1, self.run_it('list'))
        self.assertIn('cannot be read', self.err.getvalue())

    def test_a_user_who_may_not_look(self):
        error = PermissionError(13, 'Permission denied', '/secret')
        self.patch(site.Site, 'records', lambda _self: self.fail_with(error))
        self.assertEqual(1, self.run_it('list'))
        self.assertIn('/secret: Permission denied', self.err.getvalue())
        self.assertIn('as root', self.err.getvalue())

    def fail_with(self, error):
        raise error

    def test_completion_knows_the_commands(self):
        self.assertIn('abandon abort adopt', self.said('complete'))


class TestSite(base.CliTestCase):
    def conf(self, *lines):
        path = self.directory / 'nova.conf'
        path.write_text('\n'.join(lines))
        options = cfg.ConfigOpts()
        return site.of(options, [f'--config-file={path}'])

    def test_the_journals_of_nova_compute(self):
        found = self.conf('[DEFAULT]', f'state_path = {self.directory}/nova')
        self.assertEqual(
            f'{self.directory}/nova/blockcopy/journal',
            found.settings.journal_dir,
        )

    def test_another_directory(self):
        found = self.conf(
            *('[DEFAULT]', 'host = compute-1', '[blockcopy]'),
            f'journal_dir = {self.directory}/other',
        )
        self.assertEqual(f'{self.directory}/other', found.journal.directory)
        self.assertEqual('compute-1', found.name)

    def test_root_goes_on_as_the_user_of_nova_compute(self):
        done = []
        state = self.directory / 'nova'
        state.mkdir()
        os.chown(state, 12345, 12345)
        for name in ('initgroups', 'setgid', 'setuid'):
            self.patch(
                os, name, lambda *ids, name=name: done.append((name, *ids))
            )
        self.conf('[DEFAULT]', f'state_path = {state}')
        self.assertEqual(
            [
                ('initgroups', '12345', 12345),
                *(('setgid', 12345), ('setuid', 12345)),
            ],
            done,
        )

    def test_a_configuration_that_cannot_be_read(self):
        self.useFixture(fixtures.MonkeyPatch('sys.stderr', self.err))
        missing = f'{self.directory}/missing'
        self.patch(cfg, 'CONF', cfg.ConfigOpts())
        code = shell.main(['--config-file', missing, 'list'])
        self.assertEqual(255, code)
        self.assertIn('missing', self.err.getvalue())

    def test_an_instance_by_its_name_or_uuid(self):
        record = self.begun()
        for name in (samples.UUID, record.name):
            self.assertEqual(record, self.site.record(name))

    def test_a_name_is_no_path(self):
        journal.Journal(str(self.directory)).open(samples.record())
        self.assertEqual(3, self.run_it('show', f'../{samples.UUID}'))
