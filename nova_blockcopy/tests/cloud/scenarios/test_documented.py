# SPDX-License-Identifier: Apache-2.0
"""Each command for the client of OpenStack is one that it understands."""

import argparse
import typing

import testtools
from cliff import commandmanager

from nova_blockcopy.tests import documented

#: The groups of commands, by the part of the client that brings them.
_GROUPS = (
    *('openstack.compute.v2', 'openstack.network.v2', 'openstack.common'),
    'openstack.cli',
)
#: Of another package, osc-placement.
_ELSEWHERE = ('resource', 'provider')


class _Client:
    """Stands for the client, of which commands ask for the versions."""

    def __getattr__(self, name: str) -> '_Client':
        return self

    def __call__(self, *_args: object, **_more: object) -> '_Client':
        return self


class TestCommands(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.manager = commandmanager.CommandManager('openstack.cli')
        for group in _GROUPS:
            self.manager.add_command_group(group)
        self.versions = argparse.ArgumentParser()
        self.versions.add_argument('--os-compute-api-version')

    def test_each_in_a_block_is_parsed(self):
        found = list(documented.commands('openstack'))
        self.assertGreater(len(found), 10)
        for place, words in found:
            _global, words = self.versions.parse_known_args(words)
            said = f'{place}: openstack {words}'
            try:
                kind, name, rest = self.manager.find_command(words)
                parser = kind(
                    typing.cast('typing.Any', _Client()), None
                ).get_parser(name)
                parser.parse_args(rest)
            except (SystemExit, ValueError) as e:
                self.fail(f'{said}: {e}')

    def test_each_in_a_sentence_is_a_command(self):
        found = list(documented.mentions('openstack'))
        self.assertGreater(len(found), 10)
        for place, words in found:
            if tuple(words[:2]) == _ELSEWHERE:
                continue
            try:
                self.manager.find_command(
                    [word for word in words if not word.startswith('...')]
                )
            except ValueError as e:
                self.fail(f'{place}: openstack {words}: {e}')
