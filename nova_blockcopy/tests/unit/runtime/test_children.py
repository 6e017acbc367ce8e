# SPDX-License-Identifier: Apache-2.0
"""How a child has ended is known, or it is an error."""

import os
import signal
import subprocess
import sys

import ddt

from nova_blockcopy import exception
from nova_blockcopy.runtime import children
from nova_blockcopy.tests.unit import base


@ddt.ddt
class TestProveExit(base.TestCase):
    def start(self, script):
        child = subprocess.Popen(['sh', '-c', script], stdout=subprocess.PIPE)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        children.prove_exit(child)
        return child

    @ddt.data(
        ('exit 0', 0), ('exit 3', 3), ('kill -9 $$', -int(signal.SIGKILL))
    )
    @ddt.unpack
    def test_as_popen_tells_it(self, script, expected):
        child = self.start(f'echo out; {script}')
        self.assertEqual((b'out\n', None), child.communicate(timeout=30))
        self.assertEqual(expected, child.returncode)
        self.assertEqual(expected, child.wait())

    def test_it_runs_on(self):
        child = self.start('exec sleep 600')
        self.assertRaises(subprocess.TimeoutExpired, child.wait, 0.1)
        child.kill()
        self.assertEqual(-signal.SIGKILL, child.wait())

    def lost(self, child):
        error = self.assertRaises(exception.StatusUnknown, child.communicate)
        self.assertIn(str(child.pid), str(error))
        self.assertNotEqual(0, child.wait())

    def test_nobody_gets_the_status(self):
        self.ignore_children()
        self.lost(self.start('exit 0'))

    def test_other_code_is_first(self):
        child = self.start('exit 1')
        os.waitpid(child.pid, 0)
        self.lost(child)

    def test_other_code_is_second(self):
        """Between the look at the status and the wait of Popen."""
        child = subprocess.Popen(['sh', '-c', 'exit 3'])
        take = child.wait

        def late(timeout=None):
            os.waitpid(child.pid, 0)
            return take(timeout)

        child.wait = late  # type: ignore[method-assign]
        children.prove_exit(child)
        self.assertEqual(3, child.wait())


class TestCheck(base.TestCase):
    def test_it_passes(self):
        children.check()

    def test_sigchld_is_ignored(self):
        self.ignore_children()
        error = self.assertRaises(exception.ChildrenIgnored, children.check)
        self.assertIn(f'Process {os.getpid()} ', str(error))
        self.assertIn('ignores the signal SIGCHLD', str(error))

    def test_a_parent_ignored_it(self):
        self.ignore_children()
        program = 'from nova_blockcopy.runtime import children\n'
        ended = subprocess.Popen(
            [sys.executable, '-c', f'{program}children.check()'],
            stderr=subprocess.PIPE,
        )
        _out, said = ended.communicate()
        self.assertIn(b'ChildrenIgnored', said)
