# SPDX-License-Identifier: Apache-2.0
"""The demo tells the truth, above all when something was lost."""

import contextlib
import io

from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import demo


def run(*options: str) -> tuple[int, str]:
    """Run a small one; its exit code, and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = demo.main(['--size', '64', *options])
    return code, printed.getvalue()


class TestDemo(base.ModeTestCase):
    def test_nothing_is_lost(self):
        code, printed = run('--driver', self.driver, '--mode', self.mode)
        self.assertEqual(2, printed.count('missing 0, wrong 0'), printed)
        self.assertIn(f'driver {self.driver}', printed)
        self.assertNotIn('DAMAGED', printed)
        self.assertEqual(0, code)


class TestDemoChecks(base.TestCase):
    def test_libvirts_own_way(self):
        code, printed = run('--native')
        self.assertEqual(2, printed.count('missing 0, wrong 0'), printed)
        self.assertIn('virsh migrate', printed)
        self.assertEqual(0, code)

    def test_damage_is_reported(self):
        code, printed = run('--damage')
        self.assertIn('missing 1, wrong 1', printed)
        self.assertIn('DAMAGED', printed)
        self.assertEqual(1, code)
