# SPDX-License-Identifier: Apache-2.0
"""The package beside the nova-compute of the distribution."""

import json

import testtools

from nova_blockcopy.tests.hosts import pair

_DRIVER = 'blockcopy.BlockCopyLibvirtDriver'
_ENABLE = f"""
sed -i 's/^compute_driver *=.*/compute_driver = {_DRIVER}/' \\
    /etc/nova/nova-compute.conf
"""
#: Loads the driver as nova-compute does, with the files that its unit names.
_LOAD = """
sudo -u nova python3 -W ignore - <<END
from nova import config
from nova.virt import driver
files = ('/etc/nova/nova.conf', '/etc/nova/nova-compute.conf')
config.parse_args(['nova-compute', *map('--config-file={}'.format, files)])
print(type(driver.load_compute_driver(None)).__module__)
END
"""
_CHECK = 'sudo -u nova nova-blockcopy-status upgrade check --json || true'
_PACKAGE = 'python3-nova-blockcopy'
_FILES = (
    "find / -xdev -path /srv -prune -o -path /proc -prune -o "
    "-iname '*blockcopy*' -print"
)


class TestPackage(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.pair = self.useFixture(pair.Pair())
        self.at, _other = self.pair.machines

    def driver_check(self):
        """Return the details of the check of the compute driver."""
        (found,) = (
            each
            for each in json.loads(self.at.run(_CHECK))['checks']
            if each['check'] == 'Compute driver'
        )
        return found['details']

    def test_nova_loads_the_driver(self):
        self.assertIn('/etc/nova/nova-compute.conf', self.driver_check())
        self.at.run(_ENABLE)
        self.assertIsNone(self.driver_check())
        self.assertIn(_DRIVER.partition('.')[0], self.at.run(_LOAD))

    def test_it_is_removed(self):
        self.at.run(f'systemctl stop {pair.UNIT}')
        self.at.run(f'dpkg --remove {_PACKAGE}')
        # a journal may be there, and the administrator may have changed the
        # filter
        self.assertEqual(
            [
                '/etc/nova/rootwrap.d/nova-blockcopy.filters',
                '/var/lib/nova/blockcopy',
            ],
            sorted(
                path
                for path in self.at.run(_FILES).splitlines()
                if not path.startswith('/var/lib/dpkg')
            ),
        )
        self.at.run(f'dpkg --purge {_PACKAGE}')
        self.assertEqual('', self.at.run(_FILES))
