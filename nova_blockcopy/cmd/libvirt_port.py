# SPDX-License-Identifier: Apache-2.0
"""Whether the libvirt of this host answers other hosts."""

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck
from oslo_utils import netutils

from nova_blockcopy import model
from nova_blockcopy.cmd import answers
from nova_blockcopy.conf import nova
from nova_blockcopy.host import reach

_TIMEOUT = 5
#: ``_live_migration_uri`` in Nova's nova/virt/libvirt/driver.py.
_URIS = {
    **dict.fromkeys(('kvm', 'qemu'), 'qemu+{scheme}://{host}/system'),
    'parallels': 'parallels+tcp://{host}/system',
}


def endpoint(options: cfg.ConfigOpts, address: str) -> model.Endpoint:
    """Return how a libvirt reaches that of another host, as Nova does.

    See ``_migrate_uri`` in Nova's nova/virt/libvirt/driver.py.

    :param address: of the other host
    """
    return model.Endpoint(
        uri=uri(options, address),
        migrate_uri=f'tcp://{netutils.escape_ipv6(address)}',
    )


def uri(options: cfg.ConfigOpts, address: str) -> str:
    """Return the URI by which a libvirt reaches that of another host.

    :param address: of the other host
    :returns: '' if Nova has none for the ``virt_type``
    """
    known = options.libvirt
    host = netutils.escape_ipv6(address)
    if known.live_migration_uri:
        return str(known.live_migration_uri % host)
    scheme = known.live_migration_scheme or 'tcp'
    return _URIS.get(known.virt_type, '').format(scheme=scheme, host=host)


def result(options: cfg.ConfigOpts) -> upgradecheck.Result:
    """Connect to the port of this host's libvirt, at its own address."""
    known = uri(options, nova.own_address(options))
    fault = reach.fault(known, _TIMEOUT)
    if fault:
        return answers.failure(
            f'Other hosts reach the libvirt of this host by {known}, and no '
            f'guest can come here or come back here: {fault}'
        )
    return answers.success(f'{known} answers on this host.')
