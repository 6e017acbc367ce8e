# SPDX-License-Identifier: Apache-2.0
"""Acts of other tools, and of the owner, that disturb a migration."""

import pathlib
from collections.abc import Iterator

import libvirt

from nova_blockcopy.tests.faults import fault as faults
from nova_blockcopy.tests.faults import stage as stages

FAULTS: dict[str, faults.Fault] = {}
_fault = faults.into(FAULTS)


@_fault(
    'foreign-snapshot',
    'Another tool takes an external snapshot of the guest, and commits it '
    'after the end.',
)
def foreign_snapshot(it: stages.Stage) -> Iterator[None]:
    at, disk = it.where(), it.disk
    others = [target for target in it.made.guest.targets if target != disk]
    file = at.home / 'images' / 'foreign.qcow2'
    taken = it.virsh(
        at,
        *('snapshot-create-as', it.guest, '--disk-only', '--no-metadata'),
        *('--diskspec', f'{disk},snapshot=external,file={file}'),
        *(
            argument
            for other in others
            for argument in ('--diskspec', f'{other},snapshot=no')
        ),
    )
    it.met = taken
    yield
    yield
    if taken:
        _merge(it, disk, at.outside(file))


def _merge(it: stages.Stage, disk: str, file: pathlib.Path) -> None:
    """Merge a snapshot and remove its file, as the tool that took it."""
    at = it.where()
    if it.state(at) == libvirt.VIR_DOMAIN_SHUTOFF:
        it.virsh(at, 'start', it.guest)
    if it.virsh(
        at,
        *('blockcommit', it.guest, disk, '--active', '--pivot'),
        *('--wait', '--shallow'),
    ):
        file.unlink(missing_ok=True)


@_fault('foreign-suspend', 'The owner pauses the guest.', explains=False)
def foreign_suspend(it: stages.Stage) -> Iterator[None]:
    it.paused = it.met = it.suspend()
    yield
    yield
    yield
    if it.paused:
        it.paused = False
        it.virsh(it.where(), 'resume', it.guest)


@_fault(
    'foreign-pull',
    'Another tool begins a block pull, and aborts it after the end.',
    explains=False,
)
def foreign_pull(it: stages.Stage) -> Iterator[None]:
    at = it.where()
    begun = it.met = it.virsh(at, 'blockpull', it.guest, it.disk, '1')
    yield
    it.wait(lambda: it.has_ended)
    yield
    if begun:
        it.virsh(it.where(), 'blockjob', it.guest, it.disk, '--abort')


@_fault(
    'foreign-dump',
    'Another tool dumps the memory of the guest.',
    explains=False,
)
def foreign_dump(it: stages.Stage) -> Iterator[None]:
    at = it.where()
    file = it.home.home / 'images' / 'foreign.dump'
    dumping = at.submit(
        it.virsh,
        *(at, 'dump', it.guest, str(file), '--memory-only', '--live'),
    )
    yield
    it.met = dumping.result()
    at.outside(file).unlink(missing_ok=True)
