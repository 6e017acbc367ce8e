# SPDX-License-Identifier: Apache-2.0
"""The settlement of a migration without a nova-compute on this host.

Nova is imported in another process, see :mod:`nova_blockcopy.nova.deputy`.
"""

import subprocess

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.cli import site
from nova_blockcopy.cmd import nova_program

_PROGRAM = 'nova_blockcopy.nova.deputy'


def settle(at: site.Site, guest: str, deadline: float) -> model.Role:
    """Bring the disks of a migration to an end, on the source.

    :param guest: UUID
    :param deadline: seconds for the attempt
    :returns: the side that the guest is on; the journal stays open
    :raises Unsettled: the migration is not settled
    """
    try:
        said = nova_program.ask(_PROGRAM, guest, *at.files, timeout=deadline)
    except subprocess.CalledProcessError as e:
        reason = nova_program.failure(e)
    except subprocess.TimeoutExpired:
        reason = f'the attempt was not over after {deadline:g} s.'
    except (OSError, LookupError, ValueError) as e:
        reason = f'{_PROGRAM} gave no answer ({e}).'
    else:
        if 'authority' in said:
            return model.Role(said['authority'])
        reason = said['reason']
    raise exception.Unsettled(instance=guest, reason=reason)
