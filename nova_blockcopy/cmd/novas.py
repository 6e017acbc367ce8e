# SPDX-License-Identifier: Apache-2.0
"""Nova on this host, and whether the driver fits it.

Nova is imported in another process, see :mod:`nova_blockcopy.nova.fit`.
"""

import dataclasses
import subprocess
import sys

from oslo_upgradecheck import upgradecheck

from nova_blockcopy.cmd import answers
from nova_blockcopy.cmd import nova_program

_PROGRAM = 'nova_blockcopy.nova.fit'
_TIMEOUT = 300
#: The releases on which guests have moved; the admin guide has the list.
TRIED = ('33', '34')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What was found.

    ``lacking`` has a sentence for each thing that this Nova does not offer.
    ``fault`` says why nothing could be found out.
    """

    version: str = ''
    lacking: tuple[str, ...] = ()
    fault: str = ''


def look() -> Fit:
    """Import Nova with the Python of this command."""
    try:
        found = nova_program.ask(_PROGRAM, timeout=_TIMEOUT)
    except subprocess.CalledProcessError as e:
        return Fit(fault=nova_program.failure(e))
    except (OSError, subprocess.TimeoutExpired, ValueError) as e:
        return Fit(fault=str(e))
    return Fit(version=found['version'], lacking=tuple(found['lacking']))


def result(found: Fit) -> upgradecheck.Result:
    """Decide on Nova. Pure."""
    if found.fault:
        return answers.failure(
            f'The driver cannot be loaded with {sys.executable} '
            f'({found.fault}). Install nova-blockcopy and Nova for the Python '
            f'that runs nova-compute, and run the command from there.'
        )
    if found.lacking:
        return answers.failure(
            f'Nova {found.version} does not fit. {" ".join(found.lacking)} '
            f'Install a version of nova-blockcopy that supports this Nova, or '
            f'set compute_driver = libvirt.LibvirtDriver.'
        )
    if found.version.partition('.')[0] not in TRIED:
        return answers.warning(
            f'Nova {found.version} has all that the driver uses, but guests '
            f'were moved only on Nova {" and ".join(TRIED)}. Move a guest '
            f'that you can spare first.'
        )
    return answers.success(f'Nova {found.version}.')
