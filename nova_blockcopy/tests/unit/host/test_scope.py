# SPDX-License-Identifier: Apache-2.0
"""Scopes of systemd, with a stand-in for ``systemd-run``."""

import os

import ddt
import fixtures

from nova_blockcopy.host import command
from nova_blockcopy.host import confinement
from nova_blockcopy.host import scope
from nova_blockcopy.tests.unit import base

_RUN = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
_DENIED = """#!/bin/sh
echo 'Failed to start transient scope unit: Access denied' >&2
exit 1
"""


@ddt.ddt
class TestScope(base.TestCase):
    def host(self, booted=True, first='systemd', program=_RUN):
        folder = self.directory / 'bin'
        folder.mkdir()
        path = f'{folder}:{os.environ["PATH"]}'
        self.useFixture(fixtures.EnvironmentVariable('PATH', path))
        run, comm = folder / 'systemd-run', self.directory / 'comm'
        run.write_text(program)
        run.chmod(0o755)
        comm.write_text(f'{first}\n')
        for name, value in (
            ('_BOOTED', str(folder if booted else folder / 'none')),
            ('_FIRST', comm),
        ):
            self.useFixture(fixtures.MockPatchObject(scope, name, value))

    def test_a_command_becomes_the_scope(self):
        self.host()
        self.assertEqual('', scope.obstacle())
        said = command.run(
            *(*scope.prefix('x'), 'echo', 'here'),
            confined=confinement.ROOT,
            timeout=30,
        )
        self.assertEqual('here\n', said)

    def test_each_scope_has_a_name_of_its_own(self):
        self.host()
        one, other = scope.prefix('x'), scope.prefix('x')
        self.assertNotEqual(one, other)
        self.assertIn('nova-blockcopy-x-', ' '.join(one))

    @ddt.data(
        ({'booted': False}, 'first process'),
        ({'first': 'dumb-init'}, 'first process'),
        ({'program': _DENIED}, 'Access denied'),
    )
    @ddt.unpack
    def test_no_scope(self, host, reason):
        self.host(**host)
        self.assertIn(reason, scope.obstacle())
        self.assertEqual((), scope.prefix('x'))
