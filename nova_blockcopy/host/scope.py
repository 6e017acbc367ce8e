# SPDX-License-Identifier: Apache-2.0
"""Scopes of systemd, for programs that must outlive the unit of nova-compute.

systemd ends every program in the control group of a unit together with the
unit (``KillMode=control-group``, the default; see systemd.kill(5)). A program
in a scope has a control group of its own.
"""

import os
import pathlib
import secrets

from nova_blockcopy.host import command
from nova_blockcopy.host import confinement
from nova_blockcopy.runtime import privsep

#: Exists if systemd is the init system; see sd_booted(3).
_BOOTED = '/run/systemd/system'
#: The name of the first process. A container that has a part of the host's
#: ``/run`` has another one, and systemd does not know the container's pids.
_FIRST = pathlib.Path('/proc/1/comm')
_RUN = ('systemd-run', '--scope', '--quiet', '--collect')
#: Seconds that systemd may take to make a scope.
_TIMEOUT = 10


def prefix(name: str) -> tuple[str, ...]:
    """Return the words that start a command in a scope of its own.

    The command becomes the process that ``systemd-run`` was, with the same
    pid, descriptors and environment. Runs in the helper process.

    :param name: a part of the unit's name, for people
    :returns: nothing if this host can make no scope
    """
    if _obstacle():
        return ()
    # systemd removes the unit of an ended program a moment later
    unit = f'nova-blockcopy-{name}-{secrets.token_hex(4)}'
    return (*_RUN, f'--unit={unit}', '--')


@privsep.entrypoint
def obstacle() -> str:
    """Tell why this host can make no scope; '' if it can."""
    return _obstacle()


def _obstacle() -> str:
    if not os.path.isdir(_BOOTED) or _FIRST.read_text().strip() != 'systemd':
        return 'systemd is not the first process that nova-compute sees'
    try:
        command.run(
            *(*_RUN, '--', 'true'),
            confined=confinement.ROOT,
            timeout=_TIMEOUT,
        )
    except command.CommandFailed as e:
        return str(e)
    return ''
