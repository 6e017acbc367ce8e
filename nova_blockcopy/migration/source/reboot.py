# SPDX-License-Identifier: Apache-2.0
"""A reboot of the source while its guest uses its disks over the network.

A loss of power drops all writes that were not flushed, and a guest may have
seen some of them completed. So a guest that goes on from its memory never uses
the exports of a rebooted source. Runs on the source.
"""

from nova_blockcopy import exception
from nova_blockcopy.host import boot
from nova_blockcopy.records import journal


def happened(record: journal.Record) -> bool:
    """Whether this host was rebooted after a migration had begun."""
    return record.boot not in ('', boot.current())


def check(record: journal.Record) -> None:
    """Pass if the guest may still use the exports of this host.

    :raises SourceRebooted: this host was rebooted meanwhile
    """
    if happened(record):
        raise failure(
            record,
            f'run "virsh destroy {record.name}" on {record.peer}. Then see '
            f'"Only some disks have pivoted" in the page about journals.',
        )


def failure(record: journal.Record, remedy: str) -> exception.SourceRebooted:
    """Make the error for a guest that can neither go on nor come back.

    :param remedy: sentences for an operator
    """
    return exception.SourceRebooted(
        guest=record.name, peer=record.peer, remedy=remedy
    )
