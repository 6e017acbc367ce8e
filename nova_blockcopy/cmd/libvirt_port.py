# SPDX-License-Identifier: Apache-2.0
"""Whether the libvirt of this host answers other hosts."""

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck
from oslo_utils import netutils

from nova_blockcopy.cmd import answers
from nova_blockcopy.host import reach

_TIMEOUT = 5
#: ``_live_migration_uri`` in Nova's nova/virt/libvirt/driver.py.
_URIS = {
    **dict.fromkeys(('kvm', 'qemu'), 'qemu+{scheme}://{host}/system'),
    'parallels': 'parallels+tcp://{host}/system',
}


def uri(options: cfg.ConfigOpts) -> str:
    """Return the URI by which another host's libvirt reaches this one.

    :returns: '' if Nova has none for the ``virt_type``
    """
    known = options.libvirt
    host = netutils.escape_ipv6(
        known.live_migration_inbound_addr or options.host
    )
    if known.live_migration_uri:
        return str(known.live_migration_uri % host)
    scheme = known.live_migration_scheme or 'tcp'
    return _URIS.get(known.virt_type, '').format(scheme=scheme, host=host)


def result(options: cfg.ConfigOpts) -> upgradecheck.Result:
    """Connect to the port of this host's libvirt, at its own address."""
    known = uri(options)
    fault = reach.fault(known, _TIMEOUT)
    if fault:
        return answers.failure(
            f'Other hosts reach the libvirt of this host by {known}, and no '
            f'guest can come here or come back here: {fault}'
        )
    return answers.success(f'{known} answers on this host.')
