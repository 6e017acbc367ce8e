# SPDX-License-Identifier: Apache-2.0
"""The privsep helper."""

import os
import shlex

from oslo_config import cfg
from oslo_config import fixture

from nova_blockcopy.cmd import probe
from nova_blockcopy.runtime import privsep
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.cmd import base
from nova_blockcopy.tests.unit.runtime import test_privsep

#: Before a test has stubbed it.
_IS_ROOT = os.geteuid() == 0
_CHECK = 'Privsep helper'
_SCOPES = 'Exporters outlive nova-compute'


class TestHelper(base.CommandTestCase):
    def be_client(self, command=None):
        """Be a process that is not root."""
        config = self.useFixture(fixture.Config(cfg.CONF))
        config.config(group=privsep.SECTION, helper_command=command)
        privsep.context.set_client_mode(True)
        self.addCleanup(privsep.context.set_client_mode, False)

    def test_root_needs_none(self):
        self.stub('os.geteuid', lambda: 0)
        self.stub('os.stat', _owned_by_root(os.stat, self.state))
        said = self.check(self.file())
        self.assert_said(said, _CHECK, base.SUCCESS, 'runs as root')

    def test_root_starts_it_as_another_user(self):
        self.run_as(root=True)
        self.stub(f'{probe.__name__}.fault', lambda _options, _account: 'no.')
        self.assert_said(self.check(self.file()), _CHECK, base.FAILURE, 'no.')

    def test_it_does_not_start(self):
        self.be_client('false')
        said = self.check(self.file())
        self.assert_said(
            said, _CHECK, base.FAILURE, '[nova_blockcopy_sys_admin]'
        )
        for name in (_SCOPES, 'Delta directory'):
            self.assert_said(said, name, base.WARNING, 'not checked', 'helper')
        self.assert_said(said, 'Journal directory', base.SUCCESS)

    def test_its_command_is_that_of_nova(self):
        self.be_client()
        for text, wanted in (
            ('', ['sudo', 'nova-rootwrap', str(self.rootwrap)]),
            ('[workarounds]\ndisable_rootwrap = true', ['sudo']),
        ):
            self.program('sudo', 'exit 1')
            said = self.check(self.file(text))
            self.assert_said(said, _CHECK, base.FAILURE)
            command = privsep.context.helper_command('/sock')
            until = command.index('privsep-helper')
            self.assertEqual(wanted, command[:until])


class TestRealHelper(test_privsep.HelperTestCase, base.CommandTestCase):
    def test_it_starts(self):
        said = self.check(self.file())
        self.assert_said(said, _CHECK, base.SUCCESS)
        self.assert_said(said, 'Delta directory', base.SUCCESS)


class TestRights(test_privsep.HelperTestCase, base.CommandTestCase):
    """The options give the helper too few."""

    def _helper_command(self):
        file = self.directory / 'helper.conf'
        given = 'CAP_DAC_OVERRIDE,CAP_SYS_PTRACE' if _IS_ROOT else ''
        file.write_text(f'[{privsep.SECTION}]\ncapabilities = {given}\n')
        return shlex.join([*samples.HELPER, '--config-file', str(file)])

    def test_it_lacks_one(self):
        said = self.check(self.file())
        if _IS_ROOT:
            self.assert_said(said, _CHECK, base.FAILURE, 'lacks CAP_KILL.')
        else:
            self.assert_said(said, _CHECK, base.SUCCESS)


def _owned_by_root(real, path):
    def stat(wanted, *more, **options):
        found = real(wanted, *more, **options)
        if str(wanted) != str(path):
            return found
        return os.stat_result([*found[:4], 0, 0, *found[6:]])

    return stat
