# SPDX-License-Identifier: Apache-2.0
"""Commands: their output, their errors, and their end."""

import functools
import os
import pathlib
import socket

import fixtures
import psutil

from nova_blockcopy.host import command
from nova_blockcopy.host import confinement
from nova_blockcopy.runtime import children
from nova_blockcopy.tests.unit import base

_run = functools.partial(command.run, confined=confinement.KEPT)
_serve = functools.partial(command.serve, confined=confinement.KEPT)


class TestRun(base.TestCase):
    def failed(self, kind, *argv, timeout=30):
        return self.assertRaises(kind, _run, *argv, timeout=timeout)

    def test_what_it_printed(self):
        self.assertEqual('one two\n', _run('echo', 'one two', timeout=30))

    def test_the_locale_is_fixed_and_the_rest_is_kept(self):
        for name in ('LC_ALL', 'NOVA_BLOCKCOPY_TEST'):
            self.useFixture(fixtures.EnvironmentVariable(name, 'de_DE'))
        printed = _run(
            'sh', '-c', 'echo $LC_ALL $NOVA_BLOCKCOPY_TEST', timeout=30
        )
        self.assertEqual('C de_DE\n', printed)
        self.assertEqual('de_DE', os.environ['LC_ALL'])

    def test_no_shell_is_between(self):
        self.assertEqual('$HOME;x\n', _run('echo', '$HOME;x', timeout=9))

    def test_why_it_failed(self):
        for script, reason in (
            ('echo out; echo err >&2; exit 3', 'err'),
            ('echo out; exit 3', 'out'),
            ('exit 3', 'exit code 3'),
        ):
            error = self.failed(command.CommandFailed, 'sh', '-c', script)
            self.assertEqual(f'"sh" failed: {reason}.', str(error))

    def test_a_program_that_is_not_there(self):
        error = self.failed(command.CommandFailed, 'no-such-program')
        self.assertIn('no-such-program', str(error))
        self.assertIn('install the program', str(error))

    def test_after_its_time_it_is_dead(self):
        pid_file = self.directory / 'pid'
        error = self.failed(
            command.CommandTimeout,
            *('sh', '-c', f'echo $$ > {pid_file}; exec sleep 600'),
            timeout=1,
        )
        self.assertIn('"sh"', str(error))
        self.assertFalse(psutil.pid_exists(int(pid_file.read_text())))

    def test_a_status_that_is_lost(self):
        """The kernel drops the status of a child while SIGCHLD is ignored."""
        self.ignore_children()
        for program in ('true', 'false'):
            error = self.failed(command.CommandFailed, program)
            self.assertIn('exit status', str(error))
            self.assertIn('is lost', str(error))

    def test_after_its_time_it_is_dead_though_its_status_is_lost(self):
        self.ignore_children()
        self.failed(command.CommandTimeout, 'sleep', '600', timeout=1)

    def test_a_status_that_other_code_takes(self):
        """It waits for every child of the process, and is the first."""
        prove = children.prove_exit

        def steal(child):
            os.waitpid(child.pid, 0)
            prove(child)

        self.useFixture(
            fixtures.MockPatchObject(children, 'prove_exit', steal)
        )
        error = self.failed(command.CommandFailed, 'false')
        self.assertIn('is lost', str(error))

    def test_what_it_started_does_not_keep_it_waiting(self):
        """A grandchild holds the pipes open for longer than the limit."""
        mark = self.directory / 'pid'
        self.assertRaises(
            command.CommandTimeout,
            _run,
            *('sh', '-c', f'sleep 60 & echo $! >{mark}; wait'),
            timeout=1,
        )
        grandchild = psutil.Process(int(mark.read_text()))
        self.addCleanup(grandchild.kill)
        self.assertEqual('sleep', grandchild.name())


class TestServe(base.TestCase):
    def setUp(self):
        super().setUp()
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(self.listener.close)
        self.said = self.directory / 'said'

    def test_the_socket_is_handed_on(self):
        server = self.program(
            'server',
            f'echo "$LISTEN_FDS $$ $LISTEN_PID $LC_ALL $*" > {self.said}\n'
            f'stat -Lc %i /proc/$$/fd/3 /proc/$$/fd/0 >> {self.said}',
        )
        _serve(self.listener, str(server), 'a b', timeout=30)
        first, descriptor, stdin = self.said.read_text().splitlines()
        count, pid, meant_for, locale, rest = first.split(' ', 4)
        self.assertEqual(('1', 'C', 'a b'), (count, locale, rest))
        self.assertEqual(pid, meant_for)
        inode = os.fstat(self.listener.fileno()).st_ino
        self.assertEqual(inode, int(descriptor))
        self.assertEqual(pathlib.Path('/dev/null').stat().st_ino, int(stdin))

    def test_why_it_failed(self):
        server = self.program('server', 'echo so >&2; exit 1')
        error = self.assertRaises(
            command.CommandFailed,
            _serve,
            self.listener,
            str(server),
            timeout=30,
        )
        self.assertIn(f'"{server}" failed: so', str(error))

    def test_a_status_that_is_lost(self):
        self.ignore_children()
        error = self.assertRaises(
            command.CommandFailed,
            *(_serve, self.listener, 'false'),
            timeout=30,
        )
        self.assertIn('is lost', str(error))

    def test_after_its_time_it_is_dead(self):
        server = self.program(
            'server', f'echo $$ > {self.said}; exec sleep 600'
        )
        self.assertRaises(
            command.CommandTimeout,
            _serve,
            self.listener,
            str(server),
            timeout=1,
        )
        self.assertFalse(psutil.pid_exists(int(self.said.read_text())))
