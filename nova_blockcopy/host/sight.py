# SPDX-License-Identifier: Apache-2.0
"""One look at a guest: all that libvirt shows of it at one moment.

Other programs use the same libvirt: backup tools, agents, administrators. A
migration looks again before each step that relies on an earlier look.
"""

import dataclasses
from collections.abc import Mapping

import libvirt

from nova_blockcopy import domxml
from nova_blockcopy import model
from nova_blockcopy.host import hypervisor

_BLOCK_JOBS = {
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL: 'block pull',
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY: 'block copy',
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT: 'block commit',
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT: 'active block commit',
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP: 'backup',
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """The parts of a guest that a migration relies on.

    ``disks`` are by target, and so are ``block_jobs``, which name the kind of
    each job, and ``sizes``: the bytes of each local disk as the guest sees
    the disk. ``domain_job`` is the job of the whole guest; None if there is
    none. ``snapshots`` and ``checkpoints`` are the names of those that
    libvirt keeps a record of.
    """

    power: hypervisor.Power
    disks: Mapping[str, model.Disk]
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    block_jobs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    domain_job: str | None = None
    snapshots: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()


def look(guest: hypervisor.Guest) -> Sight:
    """Look at a running guest of this host.

    :raises HypervisorError: libvirt does not answer, or the guest has ended
    """
    disks = domxml.disks(guest.running_xml())
    local = [target for target, disk in disks.items() if disk.path is not None]

    def read(domain: libvirt.virDomain) -> Sight:
        jobs = {target: domain.blockJobInfo(target) for target in local}
        return Sight(
            power=guest.power(),
            disks=disks,
            sizes={target: domain.blockInfo(target)[0] for target in local},
            block_jobs={
                target: _BLOCK_JOBS.get(job['type'], 'unknown block job')
                for target, job in jobs.items()
                if job
            },
            domain_job=guest.domain_job(),
            snapshots=_names(domain.listAllSnapshots()),
            checkpoints=_names(domain.listAllCheckpoints()),
        )

    found: Sight = guest.ask('look at', read)
    return found


def _names(
    found: list[libvirt.virDomainSnapshot | libvirt.virDomainCheckpoint],
) -> tuple[str, ...]:
    return tuple(each.getName() for each in found)
