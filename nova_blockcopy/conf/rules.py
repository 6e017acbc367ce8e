# SPDX-License-Identifier: Apache-2.0
"""The rules for values of options that no type of oslo.config knows. Pure."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from nova_blockcopy import certificate
from nova_blockcopy import exception

#: A relative path depends on the directory that nova-compute was started in.
_DIRECTORIES = ('delta_dir', 'export_tls_dir', 'journal_dir')


def check(values: Mapping[str, Any]) -> None:
    """Pass if the values of all options keep the rules.

    :raises InvalidOption: a value breaks a rule
    """
    for name in _DIRECTORIES:
        if not values[name].startswith('/'):
            raise _invalid(
                name,
                f'"{values[name]}" is no absolute path. Set a path that '
                f'begins with "/".',
            )
    if _is_wildcard(values['export_address']):
        raise _invalid(
            'export_address',
            f'{values["export_address"]} stands for all addresses of this '
            f'host, and destinations cannot connect to it. Set one address of '
            f'the migration network.',
        )
    template = values['export_tls_client']
    if not certificate.is_plain(certificate.common_name(template, 'host')):
        raise _invalid(
            'export_tls_client',
            f'"{template}" can be no common name. Besides {{host}} and '
            f'{{short}}, set only letters, digits, dots, hyphens, colons and '
            f'underscores.',
        )
    if values['export_port_min'] > values['export_port_max']:
        raise _invalid(
            'export_port_min',
            'the value is above export_port_max. Set it to export_port_max '
            'or less.',
        )


def _is_wildcard(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:  # it is a name
        return False


def _invalid(name: str, reason: str) -> exception.InvalidOption:
    return exception.InvalidOption(option=f'[blockcopy] {name}', reason=reason)
