# SPDX-License-Identifier: Apache-2.0
"""The engine's options inside nova-compute, with defaults that fit Nova."""

from nova_blockcopy import conf
from nova_blockcopy.conf import nova as nova_defaults
from nova_blockcopy.nova import compat


def register() -> None:
    """Make the options known to Nova's configuration."""
    conf.register_opts(compat.CONF)


def read(uri: str) -> conf.Settings:
    """The settings of this host. A value in nova.conf wins over a default.

    :param uri: the libvirt that Nova uses
    :raises InvalidOption: a value is out of its bounds
    """
    nova_defaults.set_defaults(compat.CONF)
    settings = conf.settings(compat.CONF, connection_uri=uri)
    nova_defaults.check(compat.CONF, settings)
    return settings
