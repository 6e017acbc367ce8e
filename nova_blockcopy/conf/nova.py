# SPDX-License-Identifier: Apache-2.0
"""The defaults and the limits of options on a host that runs nova-compute.

nova-compute takes them from here. Another program on the host that does so,
too, finds the journals in the same directory.
"""

from oslo_config import cfg

from nova_blockcopy.conf import rules
from nova_blockcopy.conf import values


def set_defaults(conf: cfg.ConfigOpts) -> None:
    """Derive defaults from the options of Nova; set values stay.

    :param conf: has the options of Nova and of this project registered
    """
    state = f'{conf.state_path.rstrip("/")}/blockcopy'
    for name, value in (
        ('journal_dir', f'{state}/journal'),
        ('delta_dir', f'{state}/deltas'),
        (
            'export_address',
            conf.libvirt.live_migration_inbound_addr or conf.my_ip,
        ),
        ('export_tls', conf.libvirt.live_migration_with_native_tls),
    ):
        conf.set_default(name, value, group='blockcopy')


def check(conf: cfg.ConfigOpts, settings: values.Settings) -> None:
    """Pass if the engine's directories have no files of Nova's in them.

    :param conf: has the options of Nova registered
    :raises InvalidOption: a directory of the engine has
    """
    rules.check_nova(
        {
            'delta_dir': settings.delta_dir,
            'journal_dir': settings.journal_dir,
        },
        {
            'state_path': conf.state_path,
            'instances_path': conf.instances_path,
        },
    )
