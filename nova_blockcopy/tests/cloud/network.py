# SPDX-License-Identifier: Apache-2.0
"""The network of all servers, which carries no traffic; see ``ports``."""

from openstack import connection  # type: ignore[import-not-found]

_NAME = 'nowhere'


def ensure(to: connection.Connection) -> str:
    """Return the id of the network, and create the network if needed."""
    found = to.network.find_network(_NAME)
    if found is None:
        found = to.network.create_network(name=_NAME)
        to.network.create_subnet(
            network_id=found.id,
            ip_version=4,
            cidr='192.0.2.0/24',
            enable_dhcp=False,
        )
    return str(found.id)


def bindings(to: connection.Connection, server: str) -> dict[str, str]:
    """Return the states of the bindings of a server's only port, by host."""
    (port,) = to.network.ports(device_id=server)
    found = to.network.get(f'/ports/{port.id}/bindings').json()
    return {each['host']: each['status'] for each in found['bindings']}
