# SPDX-License-Identifier: Apache-2.0
"""Each command of the pages is one that our programs understand."""

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from nova_blockcopy.cli import shell
from nova_blockcopy.cmd import status
from nova_blockcopy.cmd import subject
from nova_blockcopy.tests import documented
from nova_blockcopy.tests.unit.cli import base

#: Follow the name of the program in its usage, and in lines of the log.
_NO_COMMANDS = ('-', '[', 'VERSION', 'does')


class TestCommands(base.CliTestCase):
    def setUp(self):
        super().setUp()
        self.shell = shell.Shell(self.site)

    def parser_of(self, words):
        kind, name, rest = self.shell.command_manager.find_command(words)
        return kind(self.shell, None).get_parser(name), rest

    def test_each_in_a_block_is_parsed(self):
        found = list(documented.commands('nova-blockcopy'))
        self.assertGreater(len(found), 20)
        for place, words in found:
            with self.subTest(place=place, words=words):
                try:
                    parser, rest = self.parser_of(words)
                    parser.parse_args(rest)
                except (SystemExit, ValueError) as e:
                    self.fail(f'{place}: nova-blockcopy {words}: {e}')

    def test_each_in_a_sentence_is_a_command(self):
        found = list(documented.mentions('nova-blockcopy'))
        self.assertGreater(len(found), 30)
        for place, words in found:
            if words and not words[0].startswith(_NO_COMMANDS):
                try:
                    self.parser_of(words[:1])
                except ValueError as e:
                    self.fail(f'{place}: nova-blockcopy {words}: {e}')

    def test_each_of_the_check_is_parsed(self):
        found = list(documented.commands('nova-blockcopy-status'))
        self.assertGreater(len(found), 3)
        for place, words in found:
            options = cfg.ConfigOpts()
            host = subject.Host(options, words)
            upgradecheck.register_cli_options(options, status.Commands(host))
            try:
                options(words, default_config_files=[])
            except (SystemExit, cfg.Error) as e:
                self.fail(f'{place}: nova-blockcopy-status {words}: {e}')
