# SPDX-License-Identifier: Apache-2.0
"""The package beside the nova-compute of the distribution."""

import json

import testtools

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.hosts import pair

_DRIVER = 'blockcopy.BlockCopyLibvirtDriver'
_START = f"""
set -e
sed -i 's/^compute_driver *=.*/compute_driver = {_DRIVER}/' \\
    /etc/nova/nova-compute.conf
systemctl unmask --quiet nova-compute
systemctl start --no-block nova-compute
"""
_LOADING = f"Loading compute driver '{_DRIVER}'"
_WAITS = 'AMQP server'
_LOG = 'cat /var/log/nova/nova-compute.log'
_CHECK = 'sudo -u nova nova-blockcopy-status upgrade check --json || true'
_PACKAGE = 'python3-nova-blockcopy'
_FILES = (
    "find / -xdev -path /srv -prune -o -path /proc -prune -o "
    "-iname '*blockcopy*' -print"
)
_SECONDS = 600


class TestPackage(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.pair = self.useFixture(pair.Pair())
        self.at, _other = self.pair.machines

    def driver_check(self):
        """Return the details of the first check."""
        found = json.loads(self.at.run(_CHECK))['checks'][0]
        self.assertEqual('Compute driver', found['check'])
        return found['details']

    def test_nova_compute_loads_the_driver(self):
        """The unit then waits for a message broker, which no machine has."""
        self.assertIn('/etc/nova/nova-compute.conf', self.driver_check())
        self.at.run(_START)
        self.assertIsNone(self.driver_check())

        def after_driver():
            return self.at.run(_LOG, check=False).partition(_LOADING)[2]

        waiting.until(
            lambda: _WAITS in after_driver(), timeout=_SECONDS, interval=2
        )
        self.assertIn(_WAITS, after_driver())
        self.assertNotIn('Unable to load', after_driver())
        self.at.run('systemctl stop nova-compute')

    def test_it_is_removed(self):
        self.at.run('systemctl stop agent')
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
