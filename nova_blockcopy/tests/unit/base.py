# SPDX-License-Identifier: Apache-2.0
"""What the unit tests share: a time limit, a directory, captured logs."""

import os
import pathlib
import signal

import fixtures
import testtools

from nova_blockcopy import conf
from nova_blockcopy.runtime import privsep
from nova_blockcopy.tests.unit import samples

#: Seconds; far more than any test takes, so it only ends one that hangs.
_LIMIT = 60


class TestCase(testtools.TestCase):
    """A test with a directory of its own."""

    limit = _LIMIT

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.Timeout(self.limit, gentle=True))
        # as root, as it is where the tests of the lab run
        privsep.context.set_client_mode(False)
        self.log = self.useFixture(fixtures.FakeLogger())
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def ignore_children(self) -> None:
        """Have this process ignore SIGCHLD until the end of the test."""
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGCHLD, before)

    def settings(self, **overrides) -> conf.Settings:
        """Settings of a host whose files are in the test's directory."""
        return samples.settings(self.directory, **overrides)

    def program(self, name: str, script: str) -> pathlib.Path:
        """Put an executable first on the PATH."""
        programs = self.directory / 'bin'
        if not programs.exists():
            programs.mkdir()
            path = f'{programs}:{os.environ["PATH"]}'
            self.useFixture(fixtures.EnvironmentVariable('PATH', path))
        program = programs / name
        program.write_text(f'#!/bin/sh\n{script}\n')
        program.chmod(0o755)
        return program
