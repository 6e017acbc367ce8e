# SPDX-License-Identifier: Apache-2.0
"""Nova on this host, and whether the driver fits it.

Nova is imported in another process, see :mod:`nova_blockcopy.nova.fit`.
"""

import dataclasses
import json
import os
import subprocess
import sys

from oslo_upgradecheck import upgradecheck

from nova_blockcopy.cmd import answers

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
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', _PROGRAM],
            env={**os.environ, 'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1'},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as e:
        return Fit(fault=(e.stderr.strip().splitlines() or [str(e)])[-1])
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
