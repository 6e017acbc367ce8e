# SPDX-License-Identifier: Apache-2.0
"""The writes of a running guest, counted for some seconds."""

import threading
import time
from collections.abc import Iterable

import libvirt

from nova_blockcopy import appraisal
from nova_blockcopy import outlook
from nova_blockcopy.host import hypervisor


def measure(
    guest: hypervisor.Guest, disks: Iterable[str], seconds: float
) -> appraisal.Measured:
    """Count the writes of a guest to each disk.

    These are the written bytes. A delta may grow by less, because the guest
    may write to the same place again.

    :param disks: targets
    :param seconds: how long to count; 0 counts nothing
    :raises HypervisorError: libvirt does not answer, or the guest has ended
    """
    known = tuple(disks)
    if seconds <= 0 or not known:
        return appraisal.NOTHING
    began, before = time.monotonic(), _counted(guest, known)
    threading.Event().wait(seconds)
    after = _counted(guest, known)
    elapsed_s = time.monotonic() - began
    return appraisal.Measured(
        seconds=elapsed_s,
        writes={
            disk: outlook.Writes(
                bytes_per_s=max(0, after[disk][0] - before[disk][0])
                / elapsed_s,
                requests_per_s=max(0, after[disk][1] - before[disk][1])
                / elapsed_s,
            )
            for disk in known
        },
    )


def _counted(
    guest: hypervisor.Guest, disks: tuple[str, ...]
) -> dict[str, tuple[int, int]]:
    """Return the bytes and requests that the guest has written so far."""

    def read(domain: libvirt.virDomain) -> dict[str, tuple[int, int]]:
        found = {}
        for disk in disks:
            counted = domain.blockStatsFlags(disk)
            found[disk] = (
                counted[libvirt.VIR_DOMAIN_BLOCK_STATS_WRITE_BYTES],
                counted[libvirt.VIR_DOMAIN_BLOCK_STATS_WRITE_REQ],
            )
        return found

    counted: dict[str, tuple[int, int]] = guest.ask(
        'count the writes of', read
    )
    return counted
