#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Ports are bound to the host that the guest is on, also after a way back."""

from nova_blockcopy import waiting
from nova_blockcopy.tests.cloud.scenarios import test_ends


class TestPorts(test_ends.EndsTestCase):
    def test_there_and_back(self):
        here, there = self.cloud.a.name, self.cloud.b.name
        port = self._port()
        guest = self.boot(port=port)
        self.assertEqual({here: 'ACTIVE'}, self._bindings(port))
        guest.live_migrate(self.cloud.b)
        self.wait_for_state(guest, self.cloud.a, 'copying')
        self._wait_for_bindings(port, {here: 'INACTIVE', there: 'ACTIVE'})
        guest.abort()
        guest.wait_for_migration('cancelled')
        self.assert_at_home(guest)
        self._wait_for_bindings(port, {here: 'ACTIVE'})
        for to in (self.cloud.b, self.cloud.a):
            self.move(guest, to)
            self._wait_for_bindings(port, {to.name: 'ACTIVE'})

    def _port(self):
        """The id of a port on a network of its own."""
        call = self.cloud.api.call
        network = call(lambda to: to.network.create_network(name='n').id)
        self.addCleanup(call, lambda to: to.network.delete_network(network))
        call(
            lambda to: to.network.create_subnet(
                network_id=network,
                ip_version=4,
                cidr='192.0.2.0/24',
                enable_dhcp=False,
            )
        )
        port = call(lambda to: to.network.create_port(network_id=network).id)
        self.addCleanup(call, lambda to: to.network.delete_port(port))
        return port

    def _bindings(self, port):
        found = self.cloud.api.call(
            lambda to: to.network.get(f'/ports/{port}/bindings').json()
        )
        return {each['host']: each['status'] for each in found['bindings']}

    def _wait_for_bindings(self, port, wanted):
        """Nova has them changed by events, and by casts to the other host."""
        waiting.until(lambda: self._bindings(port) == wanted, timeout=60)
        self.assertEqual(wanted, self._bindings(port))
