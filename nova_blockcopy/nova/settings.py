# SPDX-License-Identifier: Apache-2.0
"""The engine's options inside nova-compute, with defaults that fit Nova."""

import os

from nova_blockcopy import conf
from nova_blockcopy.nova import compat


def register() -> None:
    """Make the options known to Nova's configuration."""
    conf.register_opts(compat.CONF)


def read(uri: str) -> conf.Settings:
    """The settings of this host. A value in nova.conf wins over a default.

    :param uri: the libvirt that Nova uses
    """
    state = os.path.join(compat.CONF.state_path, 'blockcopy')
    libvirt = compat.CONF.libvirt
    for name, value in (
        ('journal_dir', os.path.join(state, 'journal')),
        ('delta_dir', os.path.join(state, 'deltas')),
        (
            'export_address',
            libvirt.live_migration_inbound_addr or compat.CONF.my_ip,
        ),
        ('export_tls', libvirt.live_migration_with_native_tls),
    ):
        compat.CONF.set_default(name, value, group='blockcopy')
    return conf.settings(compat.CONF, connection_uri=uri)
