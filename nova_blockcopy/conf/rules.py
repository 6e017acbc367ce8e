# SPDX-License-Identifier: Apache-2.0
"""The rules for values of options that no type of oslo.config knows. Pure."""

import itertools
from collections.abc import Mapping
from typing import Any

from nova_blockcopy import address as addresses
from nova_blockcopy import certificate
from nova_blockcopy import exception

#: The engine makes these, and takes back the rights of others below them.
_OWN = ('delta_dir', 'journal_dir')
_DIRECTORIES = (*_OWN, 'export_tls_dir')
#: Directories of the system (Filesystem Hierarchy Standard 3.0). Others use
#: what is in them.
_OF_SYSTEM = frozenset(
    (
        *('/', '/bin', '/boot', '/etc', '/home', '/lib', '/lib64', '/media'),
        *('/mnt', '/opt', '/root', '/sbin', '/srv', '/usr', '/usr/lib'),
        *('/usr/local', '/usr/share', '/var', '/var/cache', '/var/lib'),
        *('/var/lib/libvirt', '/var/log', '/var/spool'),
        *('/tmp', '/var/tmp'),  # noqa: S108 - nothing is written there
    )
)
#: What is below these does not survive a reboot.
_VOLATILE = ('/dev', '/proc', '/run', '/sys', '/var/lock', '/var/run')


def check(values: Mapping[str, Any]) -> None:
    """Pass if the values of all options keep the rules.

    :raises InvalidOption: a value breaks a rule
    """
    for name in _DIRECTORIES:
        _require(name, _fault_of_path(values[name]))
    for name in _OWN:
        _require(name, _fault_of_own(values[name]))
    for name, other in itertools.permutations(_OWN):
        _require(name, _fault_of_two(values[name], other, values[other]))
    if values['metrics_dir']:
        _check_metrics_dir(values)
    for path in values['image_dirs']:
        _require('image_dirs', _fault_of_images(path))
    _require('export_address', _fault_of_address(values['export_address']))
    _require('export_tls_client', _fault_of_name(values['export_tls_client']))
    if values['export_port_min'] > values['export_port_max']:
        _require(
            'export_port_min',
            'the value is above export_port_max. Set it to export_port_max '
            'or less.',
        )
    if values['poll_interval'] > values['stall_timeout']:
        _require(
            'poll_interval',
            f'{values["poll_interval"]} s is longer than stall_timeout '
            f'({values["stall_timeout"]} s), so each copy would count as '
            f'stalled. Set less than stall_timeout.',
        )


def check_nova(
    values: Mapping[str, str], directories: Mapping[str, str]
) -> None:
    """Pass if the engine's own directories have nothing of Nova's in them.

    The engine takes back the rights of others on all that is below its
    directories. Libvirt and QEMU could then not open Nova's disks.

    :param values: the options of the engine that name its directories
    :param directories: Nova's options that name directories, with their
        values
    :raises InvalidOption: a directory of Nova's is the same, or below
    """
    for name in _OWN:
        for nova_name, path in directories.items():
            if _is_within(path, values[name]):
                _require(
                    name,
                    f'Nova keeps its own files in "{path}" ({nova_name}). '
                    f'Set a directory that only the engine uses.',
                )


def _check_metrics_dir(values: Mapping[str, Any]) -> None:
    """node_exporter must be allowed to look into the directory."""
    name, value = 'metrics_dir', values['metrics_dir']
    _require(name, _fault_of_path(value))
    for other in _OWN:
        _require(name, _fault_of_two(value, other, values[other]))


def _require(name: str, fault: str | None) -> None:
    if fault is not None:
        raise exception.InvalidOption(
            option=f'[blockcopy] {name}', reason=fault
        )


def _fault_of_path(value: str) -> str | None:
    """A relative path depends on where nova-compute was started."""
    if not value.startswith('/'):
        return (
            f'"{value}" is no absolute path. Set a path that begins with "/".'
        )
    if '..' in _parts(value):
        return f'"{value}" has ".." in it. Set a path without "..".'
    return None


def _fault_of_images(value: str) -> str | None:
    if value.startswith('/') and not _parts(value):
        return '"/" stands for all files. Set directories with images only.'
    return _fault_of_path(value)


def _fault_of_own(value: str) -> str | None:
    if f'/{"/".join(_parts(value))}' in _OF_SYSTEM:
        return (
            f'others use "{value}", too. Set a directory that only the '
            f'engine uses.'
        )
    for each in _VOLATILE:
        if _is_within(value, each):
            return (
                f'"{value}" does not survive a reboot. Set a directory that '
                f'is on a disk.'
            )
    return None


def _fault_of_two(value: str, other: str, others: str) -> str | None:
    if not _is_within(value, others):
        return None
    return (
        f'"{value}" is in "{others}", the directory of {other}. Set a '
        f'directory of its own.'
    )


def _fault_of_address(value: str) -> str | None:
    address = addresses.read(value)
    if address is None:
        return None  # it is a name
    if address.is_unspecified:
        return (
            f'{value} stands for all addresses of this host, and '
            f'destinations cannot connect to it. Set one address of the '
            f'migration network.'
        )
    if not addresses.is_of_host(address):
        return (
            f'{value} is no address that a host can have on a network of '
            f'hosts. Set one address of the migration network.'
        )
    return None


def _fault_of_name(template: str) -> str | None:
    if certificate.is_plain(certificate.common_name(template, 'host')):
        return None
    return (
        f'"{template}" can be no common name. Besides {{host}} and '
        f'{{short}}, set only letters, digits, dots, hyphens, colons and '
        f'underscores.'
    )


def _is_within(path: str, directory: str) -> bool:
    """Tell whether a path is a directory, or is below it."""
    parts = _parts(directory)
    return _parts(path)[: len(parts)] == parts


def _parts(path: str) -> list[str]:
    return [part for part in path.split('/') if part not in ('', '.')]
