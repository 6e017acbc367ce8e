# SPDX-License-Identifier: Apache-2.0
"""The page about the command has its commands, options and exit codes."""

import argparse
import pathlib
import re

import nova_blockcopy
from nova_blockcopy.cli import exits
from nova_blockcopy.cli import shell
from nova_blockcopy.tests.unit.cli import base

_ROOT = pathlib.Path(nova_blockcopy.__file__).parent.parent
_PAGE = _ROOT / 'doc' / 'source' / 'cli' / 'nova-blockcopy.rst'
#: Of cliff, for the tables of list and show.
_TABLES = ('list', 'show')


def _options(parser: argparse.ArgumentParser) -> set[str]:
    return {
        option
        for action in parser._actions
        for option in action.option_strings
        if option.startswith('--') and option != '--help'
    }


class TestPage(base.CliTestCase):
    def setUp(self):
        super().setUp()
        self.shell = shell.Shell(self.site)
        text = _PAGE.read_text()
        self.head, *rest = re.split(r'\n``nova-blockcopy (.+?)``\n-+\n', text)
        self.sections = dict(zip(rest[::2], rest[1::2], strict=True))
        last = list(self.sections)[-1]
        self.sections[last], tail = self.sections[last].split('Exit codes\n')
        self.tail: str = tail

    def commands(self):
        return {
            name: self.shell.command_manager.find_command([name])[0](
                self.shell, None
            ).get_parser(name)
            for name, _found in self.shell.command_manager
            if name != 'help'
        }

    def test_each_command_with_its_arguments(self):
        wanted = set()
        for name, parser in self.commands().items():
            words = [name]
            for action in parser._actions:
                if not action.option_strings:
                    word = str(action.metavar)
                    words.append(f'[{word}]' if action.nargs else word)
                elif action.required:
                    words.append(action.option_strings[-1])
                    words += [action.metavar] if action.metavar else []
            wanted.add(' '.join(words))
        documented = set(self.sections)
        self.assertEqual(
            {' '.join(sorted(each.split())) for each in wanted},
            {' '.join(sorted(each.split())) for each in documented},
        )

    def test_each_option(self):
        of_cliff = _options(self.commands()['show'])
        for name, parser in self.commands().items():
            if name in (*_TABLES, 'complete'):
                continue
            (text,) = (
                text
                for title, text in self.sections.items()
                if title.split()[0] == name
            )
            documented = set(re.findall(r'^``(--\w+)|, ``(--\w+)', text, re.M))
            found = {each for pair in documented for each in pair if each}
            known = _options(parser)
            if of_cliff < known:
                known -= of_cliff
            self.assertEqual(known, found, name)

    def test_each_option_of_all_commands(self):
        found = set(re.findall(r'``(--[\w-]+)', self.head))
        self.assertEqual(_options(self.shell.parser) | {'--help'}, found)

    def test_each_exit_code(self):
        codes = [
            int(code) for code in re.findall(r'   \* - (\d+)\n', self.tail)
        ]
        self.assertEqual([int(each) for each in exits.Exit], codes)

    def test_the_entry_points_are_the_classes(self):
        text = (_ROOT / 'setup.cfg').read_text()
        listed = re.search(r'nova_blockcopy\.cli =\n((?:    .*\n)+)', text)
        assert listed is not None
        names = {line.split()[0] for line in listed[1].splitlines()}
        known = {title.split()[0] for title in self.sections}
        self.assertEqual(known - {'complete'}, names)
