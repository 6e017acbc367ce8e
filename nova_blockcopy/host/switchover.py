# SPDX-License-Identifier: Apache-2.0
"""The libvirt live migration of memory and device state.

The source migrates the guest for the switchover. The destination does so to
send the guest back.
"""

import json
import threading

import libvirt
import libvirt_qemu

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import hypervisor
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import task
from nova_blockcopy.runtime import waiting

LOG = logging.getLogger(__name__)

#: Seconds between two checks for an abort.
_TICK = 0.1


def run(
    guest: hypervisor.Guest,
    endpoint: model.Endpoint,
    *,
    live_xml: str,
    persistent_xml: str,
    cancelled: threading.Event,
    settings: conf.Settings,
) -> None:
    """Move a running guest from this host to the other one, and wait.

    :param endpoint: the other host's libvirt, as this host's libvirt sees it
    :param live_xml: the domain to run on the other host
    :param persistent_xml: the definition there; empty for a transient guest
    :param cancelled: aborts the migration when set
    :param settings: encryption, and time limits of migration and abort
    :raises SwitchoverError: the guest has not moved, or still moves
    :raises Aborted: ``cancelled`` was set and the guest has not moved
    """
    parameters = _parameters(endpoint, live_xml, persistent_xml)
    flags = _flags(persistent=bool(persistent_xml), tls=settings.export_tls)

    def migrate(_stop: threading.Event) -> None:
        guest.migrate(endpoint.uri, parameters, flags)

    work = task.Task('switchover', migrate)
    if not waiting.until(
        lambda: work.done,
        timeout=settings.switchover_timeout,
        interval=_TICK,
        cancelled=cancelled,
    ):
        _end(guest, work, settings.call_timeout)
    if work.failure is None:
        return
    if cancelled.is_set():
        raise exception.Aborted(guest=guest.name) from work.failure
    raise exception.SwitchoverError(
        guest=guest.name, reason=work.failure
    ) from work.failure


def _end(guest: hypervisor.Guest, work: task.Task, timeout: float) -> None:
    """Abort the migration repeatedly until libvirt has ended the job.

    One abort is not enough: libvirt may not have started the job yet.

    :param timeout: seconds
    :raises SwitchoverError: the migration has not ended in time
    """

    def ended() -> bool:
        if work.done:
            return True
        try:
            guest.abort_migration()
        except exception.HypervisorError as e:
            LOG.debug(
                'Cannot abort the migration of guest %s: %s', guest.name, e
            )
        return False

    if not waiting.until(ended, timeout=timeout, interval=_TICK):
        raise exception.SwitchoverError(
            guest=guest.name,
            reason=f'libvirt did not end the migration within '
            f'{timeout:.0f} s after its abort.',
        )


def release_cancelled(guest: hypervisor.Guest) -> None:
    """Release a migration that QEMU has cancelled but does not end.

    If a cancel comes just before QEMU pauses for the switchover, QEMU waits
    for an order that never comes: migrate_fd_cancel() sees no pause yet, and
    migration_maybe_pause() no longer sees the cancel (migration/migration.c
    in QEMU 7.2). This gives the order. QEMU refuses the order in any other
    state of a migration.

    :raises HypervisorError: QEMU is in another state, or does not answer
    """
    order = {
        'execute': 'migrate-continue',
        'arguments': {'state': 'cancelling'},
    }
    guest.ask(
        'release the cancelled migration of',
        lambda domain: libvirt_qemu.qemuMonitorCommand(
            domain, json.dumps(order), 0
        ),
    )


def downtime_s(guest: hypervisor.Guest) -> float | None:
    """Return the seconds for which a guest stood still in its switchover.

    Runs on the destination. libvirt keeps the figures of an incoming
    migration there (VIR_DOMAIN_JOB_STATS_COMPLETED, libvirt-domain.h).

    :returns: None if libvirt does not know
    """
    try:
        found = guest.ask(
            'read the switchover of',
            lambda domain: domain.jobStats(
                libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED
            ),
        )
    except exception.HypervisorError:
        return None
    downtime_ms = found.get('downtime')
    return None if downtime_ms is None else downtime_ms / 1000


def _parameters(
    endpoint: model.Endpoint, live_xml: str, persistent_xml: str
) -> dict[str, str]:
    values = {
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: live_xml,
        libvirt.VIR_MIGRATE_PARAM_URI: endpoint.migrate_uri,
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: persistent_xml,
    }
    return {name: value for name, value in values.items() if value}


def _flags(*, persistent: bool, tls: bool) -> int:
    flags = (
        libvirt.VIR_MIGRATE_LIVE
        | libvirt.VIR_MIGRATE_PEER2PEER
        | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
        # libvirt looks at the disks on this host, and calls local files
        # unsafe (qemuMigrationSrcIsSafe, src/qemu/qemu_migration.c). The
        # guest reads each moved disk through an export.
        | libvirt.VIR_MIGRATE_UNSAFE
    )
    if persistent:
        flags |= (
            libvirt.VIR_MIGRATE_PERSIST_DEST
            | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
        )
    if tls:
        flags |= libvirt.VIR_MIGRATE_TLS
    return int(flags)
