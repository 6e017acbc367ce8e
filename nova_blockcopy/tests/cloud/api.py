# SPDX-License-Identifier: Apache-2.0
"""The API of a cloud, called with the rights of an administrator."""

from collections.abc import Callable
from typing import Any
from typing import TypeVar

import openstack  # type: ignore[import-not-found]
from keystoneauth1 import adapter  # type: ignore[import-not-found]
from openstack import connection

from nova_blockcopy.tests.lab import host

T = TypeVar('T')

#: The address of the control plane, in the network of the hosts.
ADDRESS = '10.98.0.3'
IDENTITY = f'http://{ADDRESS}:5000/v3'
#: Name and URL of each service by type; keystone's bootstrap adds keystone.
SERVICES = {
    'placement': ('placement', f'http://{ADDRESS}:8778'),
    'image': ('glance', f'http://{ADDRESS}:9292'),
    'network': ('neutron', f'http://{ADDRESS}:9696'),
    'compute': ('nova', f'http://{ADDRESS}:8774/v2.1'),
    'volumev3': ('cinder', f'http://{ADDRESS}:8776/v3'),
}
REGION = 'RegionOne'
#: No secret: only processes of the cloud can reach its network.
PASSWORD = 'secret'
#: The newest microversion of the oldest supported Nova.
MICROVERSION = '2.90'

CREDENTIALS = {
    'auth_url': IDENTITY,
    'username': 'admin',
    'password': PASSWORD,
    'project_name': 'admin',
    'user_domain_id': 'default',
    'project_domain_id': 'default',
    'region_name': REGION,
}


class Api:
    """Calls the API from the control host, which is always connected.

    :param at: the control host
    """

    def __init__(self, at: host.Host) -> None:
        self._at = at
        self._connection: connection.Connection | None = None

    def call(self, function: Callable[[connection.Connection], T]) -> T:
        """Call a function on the control host with an open connection."""
        result: T = self._at.call(self._with_connection, function)
        return result

    def compute(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> Any:
        """Send one request to Nova and return the JSON of the answer.

        :param path: the path below the endpoint, such as ``/servers``
        :raises keystoneauth1.exceptions.HttpError: Nova refused the request
        """

        def request(to: connection.Connection) -> Any:
            nova: adapter.Adapter = to.compute
            answer = nova.request(
                path,
                method,
                json=body,
                microversion=MICROVERSION,
                raise_exc=True,
            )
            return answer.json() if answer.content else None

        return self.call(request)

    def _with_connection(
        self, function: Callable[[connection.Connection], T]
    ) -> T:
        if self._connection is None:
            self._connection = openstack.connect(**CREDENTIALS)
        return function(self._connection)


def environment() -> list[str]:
    """Return the openstack client's variables as arguments of ``env``."""
    return [
        *(f'OS_{name.upper()}={value}' for name, value in CREDENTIALS.items()),
        'OS_IDENTITY_API_VERSION=3',
        f'OS_COMPUTE_API_VERSION={MICROVERSION}',
    ]
