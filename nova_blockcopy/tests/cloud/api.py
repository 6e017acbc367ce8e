# SPDX-License-Identifier: Apache-2.0
"""The API of a cloud, as its administrator uses it."""

from collections.abc import Callable
from typing import Any
from typing import TypeVar

import openstack  # type: ignore[import-not-found]
from keystoneauth1 import adapter  # type: ignore[import-not-found]
from openstack import connection

from nova_blockcopy.tests.lab import host

T = TypeVar('T')

#: Of the control plane, on the network of the hosts.
ADDRESS = '10.98.0.3'
IDENTITY = f'http://{ADDRESS}:5000/v3'
#: Name and URL, by type; keystone enters itself.
SERVICES = {
    'placement': ('placement', f'http://{ADDRESS}:8778'),
    'image': ('glance', f'http://{ADDRESS}:9292'),
    'network': ('neutron', f'http://{ADDRESS}:9696'),
    'compute': ('nova', f'http://{ADDRESS}:8774/v2.1'),
    'volumev3': ('cinder', f'http://{ADDRESS}:8776/v3'),
}
REGION = 'RegionOne'
#: Nobody else can reach the network that it opens anything on.
PASSWORD = 'secret'
#: The newest that the oldest Nova of interest has.
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
    """Calls it from the only host that nothing can keep from it.

    :param at: the control host
    """

    def __init__(self, at: host.Host) -> None:
        self._at = at
        self._connection: connection.Connection | None = None

    def call(self, function: Callable[[connection.Connection], T]) -> T:
        """Call a function, on that host, with a connection."""
        result: T = self._at.call(self._with_connection, function)
        return result

    def compute(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> Any:
        """One request to Nova; returns what the answer's JSON says.

        :param path: below the endpoint, such as ``/servers``
        :raises keystoneauth1.exceptions.HttpError: it was refused
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
    """What the client's command wants, as arguments of ``env``."""
    return [
        *(f'OS_{name.upper()}={value}' for name, value in CREDENTIALS.items()),
        'OS_IDENTITY_API_VERSION=3',
        f'OS_COMPUTE_API_VERSION={MICROVERSION}',
    ]
