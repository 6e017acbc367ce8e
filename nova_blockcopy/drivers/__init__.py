# SPDX-License-Identifier: Apache-2.0
"""Copy drivers, loaded by name from the stevedore namespace.

A copy driver runs block jobs through the libvirt of its own host: copies on
the destination, commits on the source.
"""

from stevedore import driver as stevedore_driver
from stevedore import exception as stevedore_exception
from stevedore import extension

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy.drivers import contract
from nova_blockcopy.host import hypervisor

NAMESPACE = 'nova_blockcopy.drivers'


def load(
    settings: conf.Settings, connect: hypervisor.Connect
) -> contract.CopyDriver:
    """Create the copy driver that ``[blockcopy] driver`` names.

    :param connect: returns an open connection to this host's libvirt
    :raises UnknownDriver: the driver is not installed, cannot be imported,
        or is no :class:`contract.CopyDriver`
    """
    name = settings.driver
    access = contract.Access(
        uri=settings.connection_uri,
        connect=connect,
        timeout=settings.call_timeout,
    )
    try:
        manager: stevedore_driver.DriverManager[contract.CopyDriver] = (
            stevedore_driver.DriverManager(
                NAMESPACE,
                name,
                invoke_on_load=True,
                invoke_args=(access,),
                warn_on_missing_entrypoint=False,
            )
        )
    except (stevedore_exception.NoMatches, ImportError) as e:
        raise exception.UnknownDriver(
            name=name, reason=e, installed=', '.join(installed()) or 'none'
        ) from e
    if not isinstance(manager.driver, contract.CopyDriver):
        raise exception.UnknownDriver(
            name=name,
            reason='its class is not a subclass of CopyDriver',
            installed=', '.join(installed()),
        )
    return manager.driver


def installed() -> list[str]:
    """Return the names of the installed drivers, without importing any."""
    manager: extension.ExtensionManager[contract.CopyDriver] = (
        extension.ExtensionManager(NAMESPACE, invoke_on_load=False)
    )
    return sorted(manager.entry_points_names())
