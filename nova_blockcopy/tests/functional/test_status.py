# SPDX-License-Identifier: Apache-2.0
"""``nova-blockcopy-status`` on a host with a real libvirt."""

import json
import pathlib
import sys

from nova_blockcopy.tests.functional import base

_SUCCESS, _WARNING, _FAILURE = 0, 1, 2
_SOURCES = pathlib.Path(__file__).parents[3]
_CONFIGURED = """
[DEFAULT]
compute_driver = blockcopy.BlockCopyLibvirtDriver
host = {host.hostname}
state_path = {state}
[libvirt]
virt_type = qemu
live_migration_inbound_addr = {host.address}
live_migration_with_native_tls = true
{libvirt}
[blockcopy]
export_tls_dir = {host.certificates}
delta_min_free = 1
"""


class TestStatus(base.TestCase):
    def setUp(self):
        super().setUp()
        self.host = self.lab.a
        self.state = self.host.home / 'images' / 'state'
        self.outside = self.host.outside(self.state)
        self.outside.mkdir(mode=0o755)

    def check(self, libvirt=''):
        """Run the command; return each check's result and details."""
        text = _CONFIGURED.format(
            host=self.host, state=self.state, libvirt=libvirt
        )
        (self.outside / 'nova.conf').write_text(text)
        done = self.host.run(
            *('env', f'PYTHONPATH={_SOURCES}', sys.executable, '-m'),
            'nova_blockcopy.cmd.status',
            *('--config-file', f'{self.state}/nova.conf'),
            *('upgrade', 'check', '--json'),
            check=False,
        )
        return {
            each['check']: (each['result'], each['details'] or '')
            for each in json.loads(done.stdout)['checks']
        }

    def assert_said(self, said, check, result, *words):
        code, details = said[check]
        self.assertEqual(result, code, details)
        for each in words:
            self.assertIn(str(each), details)

    def mount(self, path):
        """Make a file system of its own, and mount it on the host."""
        image = self.state / 'image'
        self.host.run('truncate', '--size', '64M', str(image))
        self.host.run('mkfs.ext4', '-q', str(image))
        self.host.run('mkdir', '-p', '--mode=711', str(path))
        self.host.run('mount', '-o', 'loop', str(image), str(path))
        self.addCleanup(self.host.run, 'umount', str(path))
        self.host.run('chmod', '711', str(path))

    def test_a_host_that_is_ready(self):
        self.mount(self.state / 'blockcopy' / 'deltas')
        said = self.check()
        for name in (
            *('Options', 'Options together', 'Time limits', 'Programs'),
            *('Journal directory', 'Delta directory', 'File systems'),
            *('Certificates', 'Certificates of QEMU', 'Lock manager'),
            *('Ports of the exports', 'libvirt for other hosts'),
            *('libvirt and QEMU', 'Security driver', 'User of QEMU'),
        ):
            self.assert_said(said, name, _SUCCESS)

    def test_a_host_that_is_not(self):
        self.outside.chmod(0o750)
        file = self.host.outside('/etc/libvirt/qemu.conf')
        before = file.read_text()
        self.addCleanup(file.write_text, before)
        file.write_text(f'{before}lock_manager = "lockd"\n')
        self.addCleanup(self.lab.certify, self.host, self.host.address)
        self.lab.certify(self.host, '203.0.113.7')
        said = self.check('live_migration_scheme = tls')
        for name, result, words in (
            ('Certificates', _WARNING, f'connect to {self.host.address}'),
            ('File systems', _WARNING, 'a file system of its own'),
            ('Lock manager', _FAILURE, '"lockd"'),
            ('libvirt for other hosts', _FAILURE, 'port 16514'),
            ('User of QEMU', _FAILURE, f'chmod o+x {self.state}'),
        ):
            self.assert_said(said, name, result, words)
