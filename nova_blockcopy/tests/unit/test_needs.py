# SPDX-License-Identifier: Apache-2.0
"""What a guest needs besides its disks, read from its XML."""

from nova_blockcopy import needs
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

XML = """
<domain type="kvm">
  <os>
    <type arch="x86_64" machine="pc-q35-7.2">hvm</type>
    <loader>/usr/share/OVMF/OVMF_CODE.fd</loader>
    <kernel>/boot/kernel</kernel>
  </os>
  <cpu mode="custom" check="{check}"><model>Nehalem</model></cpu>
  <devices>
    <emulator>/usr/bin/qemu</emulator>
    <interface type="network"><source network="default"/></interface>
    <interface type="bridge"><source bridge="br0"/></interface>
    <interface type="bridge"><source bridge="br0"/></interface>
    <interface type="direct"><source dev="eth1" mode="bridge"/></interface>
    <interface type="user"/>
    <serial type="file"><source path="/var/log/guest/console.log"/></serial>
    <serial type="unix"><source mode="bind" path="/run/guest/s"/></serial>
    <serial type="unix"><source mode="connect" path="/run/x/s"/></serial>
    <serial type="pty"><source path="/dev/pts/3"/></serial>
    <console type="file"><source path="/var/log/guest/console.log"/></console>
    <parallel type="stdio"/>
  </devices>
</domain>
"""


class TestNeeds(base.TestCase):
    def test_all(self):
        found = needs.of(XML.format(check='full'))
        self.assertIn('Nehalem', found.cpu)
        self.assertEqual(
            (
                *('/usr/bin/qemu', 'x86_64', 'pc-q35-7.2', 'kvm'),
                *(('default',), ('br0', 'eth1')),
                ('/boot/kernel', '/usr/share/OVMF/OVMF_CODE.fd'),
                ('/var/log/guest', '/run/guest'),
            ),
            (
                *(found.emulator, found.arch, found.machine, found.type),
                *(found.networks, found.links, found.files),
                found.directories,
            ),
        )

    def test_a_processor_that_libvirt_does_not_compare(self):
        self.assertEqual('', needs.of(XML.format(check='none')).cpu)

    def test_none(self):
        found = needs.of(samples.domain())
        self.assertEqual('kvm', found.type)
        self.assertIsNone(found.machine)
        self.assertEqual((), found.files + found.links + found.directories)
