# SPDX-License-Identifier: Apache-2.0
"""Whether this host has the programs that the engine starts."""

import re
import shutil
from collections.abc import Iterator
from collections.abc import Mapping

from oslo_upgradecheck import upgradecheck

from nova_blockcopy import conf
from nova_blockcopy import plan
from nova_blockcopy.cmd import answers
from nova_blockcopy.host import programs

_QEMU = ('qemu-img', 'qemu-nbd')
_UTIL_LINUX = ('setpriv', 'fallocate')
_OPENSSL, _VIRSH = 'openssl', 'virsh'
_VERSION = re.compile(r'version (\d+)\.(\d+)\.(\d+)')


def look(settings: conf.Settings) -> Mapping[str, str | None]:
    """Return what each program prints about its version; None if missing.

    :raises HelperError: the helper cannot be started
    """
    found = {**programs.versions()}
    if settings.driver == _VIRSH:  # nova-compute itself starts virsh
        found[_VIRSH] = shutil.which(_VIRSH) and ''
    return found


def result(
    settings: conf.Settings, found: Mapping[str, str | None]
) -> upgradecheck.Result:
    """Decide on the programs. Pure."""
    needed = [name for name in found if name != _OPENSSL]
    faults = [
        *(
            f'{name} is not installed, or not on the PATH of the helper. '
            f'Install the program.'
            for name in needed
            if found[name] is None
        ),
        *_too_old(found),
    ]
    if faults:
        return answers.failure(' '.join(faults))
    if settings.export_tls and found.get(_OPENSSL) is None:
        return answers.warning(
            'openssl is not installed, so nobody checks whether certificates '
            'have expired. Install the program.'
        )
    return answers.success(f'{found["qemu-img"]}.')


def _too_old(found: Mapping[str, str | None]) -> Iterator[str]:
    least = plan.MINIMUM.hypervisor
    for name in _QEMU:
        match = _VERSION.search(found.get(name) or '')
        if match is None:
            continue
        major, minor, micro = map(int, match.groups())
        if major * 1_000_000 + minor * 1_000 + micro < least:
            yield (
                f'{name} {match[0].removeprefix("version ")} is too old. '
                f'Upgrade it to {plan.dotted(least)} or newer.'
            )
