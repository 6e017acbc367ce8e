# SPDX-License-Identifier: Apache-2.0
"""How the unit or the container of nova-compute ends exporters."""

import ddt

from nova_blockcopy.tests.unit.cmd import base

_CHECK = 'Exporters outlive nova-compute'
_SHOWN = """Id=nova-compute.service
LoadState=loaded
KillMode={}

Id=openstack-nova-compute.service
LoadState=not-found
KillMode=control-group"""


@ddt.ddt
class TestUnit(base.CommandTestCase):
    def unit(self, mode):
        self.program('systemctl', f"cat <<'END'\n{_SHOWN.format(mode)}\nEND")

    def test_systemd_is_not_there(self):
        self.program('systemctl', 'exit 1')
        self.boot(first='dumb-init')
        self.assert_only(
            self.check(self.file()),
            *(_CHECK, base.WARNING, 'first process', 'Do not restart'),
        )

    def test_systemd_refuses(self):
        self.unit('control-group')
        self.program('systemd-run', 'echo Access denied >&2; exit 1')
        self.assert_only(
            self.check(self.file()),
            *(_CHECK, base.WARNING, 'Access denied'),
            'Set KillMode=process in nova-compute.service',
        )

    def test_the_unit_spares_exporters(self):
        self.unit('process')
        self.program('systemd-run', 'exit 1')
        said = self.check(self.file())
        self.assert_said(said, _CHECK, base.SUCCESS, 'nova-compute.service')
        self.assertEqual(base.SUCCESS, said.code)
