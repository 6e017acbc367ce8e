# SPDX-License-Identifier: Apache-2.0
"""Pauses of a guest that others make or end."""

import libvirt

from nova_blockcopy.migration import pauses
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

_RUNNING = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_UNPAUSED)
_PAUSED = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER)


class TestActivate(base.TestCase):
    def setUp(self):
        super().setUp()
        self.machine = fakes.Machine(samples.domain(samples.disk_xml()))
        self.connection = fakes.Connection(self.machine)
        self.machine.condition = _PAUSED

    def activate(self):
        here = self.connection.hypervisor('host-a')
        pauses.activate(here.guest(self.machine.uuid))
        return self.machine.condition

    def test_a_paused_guest_stays_paused(self):
        self.assertEqual(_PAUSED, self.activate())

    def test_a_dump_resumes_the_guest_before_the_engine(self):
        def on_resume(machine):
            machine.condition = _RUNNING
            raise fakes.libvirt_error(
                libvirt.VIR_ERR_OPERATION_INVALID, 'domain is already running'
            )

        self.connection.on_resume = on_resume
        self.assertEqual(_RUNNING, self.activate())
