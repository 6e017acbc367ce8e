# SPDX-License-Identifier: Apache-2.0
"""Root starts the helper as the user of nova-compute."""

import os

from oslo_config import cfg

from nova_blockcopy.cmd import account
from nova_blockcopy.cmd import probe
from nova_blockcopy.runtime import nova_conf
from nova_blockcopy.tests.unit.cmd import base


class TestProbe(base.CommandTestCase):
    def setUp(self):
        super().setUp()
        self.options = cfg.ConfigOpts()
        self.path = self.file()
        nova_conf.load(self.options, [f'--config-file={self.path}'])
        # a process of the tests may become nobody but itself
        self.user = account.Account(
            name='nova', uid=os.getuid(), gid=os.getgid(), present=False
        )

    def python(self, script):
        """Have another program in place of Python."""
        found = self.program('python', script)
        self.stub('sys.executable', str(found))

    def test_it_passes_the_files_on(self):
        self.python('echo "$*"')
        self.assertEqual(
            f'-m {probe.__name__} --config-file={self.path}',
            probe.fault(self.options, self.user),
        )

    def test_it_says_nothing(self):
        self.python('exit 0')
        self.assertEqual('', probe.fault(self.options, self.user))

    def test_it_ends_with_an_error(self):
        self.python('echo first >&2; echo last >&2; exit 1')
        self.assertEqual('last', probe.fault(self.options, self.user))

    def test_the_user_cannot_run_python(self):
        self.stub('sys.executable', str(self.directory))
        found = probe.fault(self.options, self.user)
        self.assertIn('as the user nova (', found)
        self.assertIn('Permission denied', found)
