# SPDX-License-Identifier: Apache-2.0
"""What the journal forbids Nova to do with an instance.

Nova knows nothing of a guest between two hosts: each of its ways to delete,
to start, or to copy an instance could hit the only good disks, or disks that
are not complete.
"""

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.records import journal


def forbids_removal(record: journal.Record) -> str | None:
    """Why this host's disks of an instance must stay; None if they may go."""
    if record.role is model.Role.SOURCE:
        return (
            f'its disks on this host are being moved to {record.peer} '
            f'(state {record.state})'
        )
    at_home = (states.State.PIVOTING, states.State.RELEASING)
    if record.pivoted or record.state in at_home:
        return (
            f'it came here from {record.peer}, and its disks here may be the '
            f'only good ones (state {record.state})'
        )
    return None


def forbids_start(record: journal.Record) -> str:
    """Why an instance must not be started on this host."""
    other = (
        'may run on the other host'
        if record.role is model.Role.SOURCE
        else 'has disks here that are not complete'
    )
    return f'it is being moved (state {record.state}) and {other}'


def forbids_use(record: journal.Record) -> str:
    """Why an instance's disks on this host must not be read or changed."""
    return f'it is being moved (state {record.state})'
