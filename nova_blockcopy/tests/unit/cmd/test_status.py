# SPDX-License-Identifier: Apache-2.0
"""The command as a whole: its output, its exit code, its reading of files."""

import json
import pathlib
import re
import subprocess
import sys

from nova_blockcopy.cmd import status
from nova_blockcopy.tests.unit.cmd import base

_ALL = [name for name, _check in status.CHECKS]


class TestCommand(base.CommandTestCase):
    def test_all_checks_pass(self):
        said = self.check(self.file())
        self.assertEqual(dict.fromkeys(_ALL, base.SUCCESS), said.results)
        self.assertEqual(base.SUCCESS, said.code)

    def test_nothing_is_changed(self):
        self.journals.mkdir(0o755, parents=True)
        self.deltas.mkdir(0o755)
        before = self.tree()
        self.check(self.file())
        self.assertEqual(
            {path: found[:2] for path, found in before.items()},
            {path: found[:2] for path, found in self.tree().items()},
        )

    def test_nothing_is_made(self):
        self.check(self.file())
        self.assertEqual({}, self.tree())

    def test_a_table_for_people(self):
        code, text = self.main(
            *('--config-file', self.file(driver=base.STOCK)),
            *('upgrade', 'check'),
        )
        self.assertEqual(base.FAILURE, code)
        for name in _ALL:
            self.assertIn(f'| Check: {name} ', text)
        self.assertIn('| Result: Failure ', text)

    def test_the_highest_code_counts(self):
        self.boot(first='dumb-init')
        self.assertEqual(base.WARNING, self.check(self.file()).code)
        said = self.check(self.file(driver=base.STOCK))
        self.assertEqual(base.FAILURE, said.code)

    def test_an_unexpected_error(self):
        self.stub('os.listdir', lambda _path: 1 / 0)
        code, text = self.main(
            *('--config-file', self.file(), 'upgrade', 'check')
        )
        self.assertEqual(base.BROKEN, code)
        self.assertIn('ZeroDivisionError', text)

    def test_it_is_a_program(self):
        done = subprocess.run(
            [
                *(sys.executable, '-m', 'nova_blockcopy.cmd.status'),
                *('--config-file', str(self.file(driver=base.STOCK))),
                *('upgrade', 'check', '--json'),
            ],
            capture_output=True,
            text=True,
        )
        self.assertEqual(base.FAILURE, done.returncode, done.stderr)
        found = [each['check'] for each in json.loads(done.stdout)['checks']]
        self.assertEqual(_ALL, found)


class TestDocumentation(base.CommandTestCase):
    page = pathlib.Path(__file__).parents[4] / (
        'doc/source/cli/nova-blockcopy-status.rst'
    )

    def test_the_page_has_each_check(self):
        table = self.page.read_text().partition('list-table:: Checks')[2]
        cells = re.findall(r'(?m)^   \* - (.+)$', table.partition('\nFor ')[0])
        self.assertEqual(['Check', *_ALL], cells)

    def test_the_output_on_the_page_has_each_check(self):
        found = re.findall(r'\| Check: (.+?) +\|', self.page.read_text())
        self.assertEqual(_ALL, found)


class TestFiles(base.CommandTestCase):
    def test_a_file_that_is_not_there(self):
        code, text = self.main(
            *('--config-file', self.directory / 'none', 'upgrade', 'check')
        )
        self.assertEqual(base.BROKEN, code)
        self.assertIn(f'{self.directory}/none', text)

    def test_a_file_that_is_no_configuration(self):
        path = self.directory / 'odd.conf'
        path.write_text('so\n')
        code, text = self.main('--config-file', path, 'upgrade', 'check')
        self.assertEqual(base.BROKEN, code)
        self.assertIn('cannot be read', text)

    def test_a_value_that_the_defaults_need(self):
        path = self.file('[libvirt]\nlive_migration_with_native_tls = x')
        code, text = self.main('--config-file', path, 'upgrade', 'check')
        self.assertEqual(base.BROKEN, code)
        self.assertIn('live_migration_with_native_tls', text)
