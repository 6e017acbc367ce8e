# SPDX-License-Identifier: Apache-2.0
"""The report on a guest that ended while moving. Runs on the source."""

from nova_blockcopy import exception
from nova_blockcopy import states
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import qemu_log
from nova_blockcopy.migration.source import remote
from nova_blockcopy.records import journal


def of(
    guest: hypervisor.Guest,
    destination: remote.RemoteDestination,
    record: journal.Record,
) -> str | None:
    """Tell where a guest ended, with the last lines of the QEMU log.

    Asks the destination only if the guest may be there.

    :returns: a sentence for an error; None if the guest runs on either host
    :raises BlockCopyError: a host does not answer
    """
    if guest.power() is not hypervisor.Power.OFF:
        return None
    seen = {entry.state for entry in record.history}
    if states.State.SWITCHING in seen and (
        destination.power() is not hypervisor.Power.OFF
    ):
        return None
    logs = {}
    if states.State.COPYING not in seen:
        logs[guest.host] = qemu_log.tail(record.name)
    if states.State.SWITCHING in seen:
        logs[record.peer] = _remote_log(destination)
    told = ' '.join(f'Its log on {at} ends with: {logs[at]}' for at in logs)
    return f'Guest "{record.name}" has ended on {" or ".join(logs)}. {told}'


def _remote_log(destination: remote.RemoteDestination) -> str:
    try:
        return destination.qemu_log()
    except exception.BlockCopyError as e:
        return f'({e})'


def has_ended(guest: hypervisor.Guest) -> bool:
    """Tell whether a guest is off; False if libvirt does not answer."""
    try:
        return guest.power() is hypervisor.Power.OFF
    except exception.HypervisorError:
        return False
