# SPDX-License-Identifier: Apache-2.0
"""Ports that Nova has bound to the destination are bound here again."""

import nova.exception
from nova import objects

from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import driver_base


class TestRollbackAtSource(driver_base.DriverTestCase):
    """Ports that Nova has bound to the destination are bound here again."""

    def setUp(self):
        super().setUp()
        self.stock = self.fake_nova('rollback_live_migration_at_source')
        self.network = driver_base.network(self.driver)

    def roll_back(self, terms=driver_base.AGREED):
        data = self.said(terms)
        data.migration = objects.Migration(dest_compute=base.THERE)
        self.driver.rollback_live_migration_at_source(
            self.context, self.instance, data
        )
        self.stock.assert_called_once_with(
            self.driver, self.context, self.instance, data
        )

    def test_ports(self):
        self.roll_back()
        back, others_off, noted = self.network.method_calls
        self.assertEqual('migrate_instance_start', back[0])
        _context, found, migration = back.args
        self.assertIs(self.instance, found)
        self.assertEqual(base.HERE, migration.dest_compute)
        self.assertEqual('setup_networks_on_host', others_off[0])
        self.assertEqual(
            {'host': base.THERE, 'teardown': True}, others_off.kwargs
        )
        self.assertEqual('get_instance_nw_info', noted[0])

    def test_ports_that_neutron_does_not_bind(self):
        self.network.migrate_instance_start.side_effect = (
            nova.exception.PortBindingActivationFailed(port_id='p', host='h')
        )
        self.roll_back()
        self.assertIn('by hand', self.log.output)

    def test_a_migration_that_is_not_ours(self):
        self.roll_back(terms=None)
        self.assertEqual([], self.network.method_calls)
