# SPDX-License-Identifier: Apache-2.0
"""The security driver of libvirt, and whether its rules fit."""

import os
from collections.abc import Collection
from collections.abc import Iterator

from oslo_upgradecheck import upgradecheck

from nova_blockcopy.cmd import answers
from nova_blockcopy.cmd import capabilities

_APPARMOR, _SELINUX = 'apparmor', 'selinux'
#: The profiles of guests, and the rules of the administrator (Debian).
_PROFILES = '/etc/apparmor.d/libvirt'
_LOCAL = '/etc/apparmor.d/local/abstractions/libvirt-qemu'
#: From here on libvirt denies no writes below the top layer (its news).
_DENIES_NOTHING = 12_001_000
#: Where AppArmor lets QEMU read certificates (abstractions/libvirt-qemu).
_PKI = tuple(
    f'/etc/pki/{name}'
    for name in ('CA', 'libvirt', 'libvirt-spice', 'libvirt-vnc', 'qemu')
)


def profiles_seen() -> bool:
    """Tell whether the profiles of guests are on this host."""
    return os.path.isdir(_PROFILES)


def local_rules() -> str:
    """Return the administrator's own rules for QEMU; '' if none."""
    try:
        with open(_LOCAL, encoding='utf-8', errors='replace') as f:
            return f.read()
    except OSError:
        return ''


def result(
    found: capabilities.Capabilities,
    libvirt_version: int,
    *,
    seen: bool,
    rules: str,
    certificates: Collection[str],
) -> upgradecheck.Result:
    """Decide on the security driver. Pure.

    :param libvirt_version: a number of libvirt
    :param seen: whether the profiles of AppArmor are on this host
    :param rules: see :func:`local_rules`
    :param certificates: the directories that QEMU reads certificates from
    """
    if _SELINUX in found.models:
        return answers.warning(
            'SELinux confines guests. Nobody has run nova-blockcopy with it. '
            'Move a guest that you can spare, and abort a migration, first.'
        )
    if _APPARMOR not in found.models:
        return answers.success('No security driver confines guests.')
    faults = [
        *_denials(libvirt_version, seen=seen),
        *_unreadable(rules, certificates),
    ]
    if faults:
        return answers.failure(' '.join(faults))
    return answers.success('AppArmor confines guests.')


def _denials(libvirt_version: int, *, seen: bool) -> Iterator[str]:
    if libvirt_version < _DENIES_NOTHING and not seen:
        yield (
            f'AppArmor confines guests, but their profiles are not in '
            f'{_PROFILES} here. So no migration in seeded mode can be undone '
            f'after its freeze. If nova-compute runs in a container, mount '
            f'that directory of the host.'
        )


def _unreadable(rules: str, certificates: Collection[str]) -> Iterator[str]:
    for path in certificates:
        inside = any(f'{path}/'.startswith(f'{each}/') for each in _PKI)
        if not inside and path not in rules:
            yield (
                f'AppArmor does not let QEMU read certificates in {path}. '
                f'Add "{path}/** r," to {_LOCAL}, or move them to '
                f'/etc/pki/qemu.'
            )
