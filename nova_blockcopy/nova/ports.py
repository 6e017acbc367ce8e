# SPDX-License-Identifier: Apache-2.0
"""The bindings of an instance's ports, which follow its guest.

Neutron has a binding of each port for both hosts, and one of the two is
active. The source activates the destination's binding as soon as the guest
runs there, and its own binding if the guest comes back. If Neutron refuses,
the migration goes on, and the log says what to do.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from nova_blockcopy.nova import compat
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)


def bind(manager: Any, context: Any, instance: Any, host: str) -> None:
    """Make those bindings of an instance's ports active that are for a host.

    A port that has no binding there is left as it is.

    :param manager: Nova's compute manager
    """
    with _reported(instance, host):
        _activate(manager.network_api, context, instance, host)


def take_back(manager: Any, context: Any, instance: Any, dest: str) -> None:
    """Bind an instance's ports to this host again, and to no other.

    Neutron forgets how a port is bound when another host's binding becomes
    the active one (``Ml2Plugin.activate``). It binds the port here again
    only at the port's next change. The removal of the destination's bindings
    is such a change. Nova's record of the ports is updated afterwards, as
    the next migration unplugs the interfaces by that record.

    :param manager: Nova's compute manager
    :param dest: the host that has other bindings of the ports
    """
    network_api = manager.network_api
    with _reported(instance, compat.CONF.host):
        _activate(network_api, context, instance, compat.CONF.host)
        network_api.setup_networks_on_host(
            context, instance, host=dest, teardown=True
        )
        network_api.get_instance_nw_info(context, instance)


def release(manager: Any, context: Any, instance: Any) -> None:
    """Remove the bindings of an instance's ports to this host.

    The instance is on another host in Nova's record.

    :param manager: Nova's compute manager
    """
    with _reported(instance, instance.host):
        manager.network_api.setup_networks_on_host(
            context, instance, host=compat.CONF.host, teardown=True
        )


def _activate(
    network_api: Any, context: Any, instance: Any, host: str
) -> None:
    network_api.migrate_instance_start(
        context, instance, compat.Migration(dest_compute=host)
    )


@contextlib.contextmanager
def _reported(instance: Any, host: str) -> Iterator[None]:
    try:
        yield
    except compat.NovaException as e:
        LOG.error(
            'The guest runs on %s, but Neutron has not bound its ports to '
            'that host. Bind them by hand: %s',
            *(host, e),
            instance=instance,
        )
