# SPDX-License-Identifier: Apache-2.0
"""The changes of a guest by other programs that end its migration. Pure.

A change of a setting is no such change: the newest settings travel.
"""

from collections.abc import Iterator

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import sight


def reason(
    guest: str,
    seen: sight.Sight,
    moves: tuple[model.Move, ...],
    selection: plan.Selection,
) -> str | None:
    """Say in which way a guest differs from what the journal says.

    :param guest: name
    :param seen: the guest now
    :param moves: the disks that move, with the deltas of the engine
    :param selection: the decision on each disk before the migration
    :returns: None if nothing differs that the migration relies on
    """
    return next(_reasons(guest, seen, moves, selection), None)


def _reasons(
    guest: str,
    seen: sight.Sight,
    moves: tuple[model.Move, ...],
    selection: plan.Selection,
) -> Iterator[str]:
    if seen.power is hypervisor.Power.SUSPENDED:
        yield (
            f'it is suspended to RAM. Wake it with "virsh dompmwakeup '
            f'{guest}".'
        )
    if seen.power is hypervisor.Power.HALTED:
        yield (
            f'it has crashed or shut down, and its QEMU is still there. Start '
            f'it again with "virsh reset {guest}" and "virsh resume {guest}".'
        )
    for move in moves:
        yield from filter(None, [_changed(seen, move)])
    yield from busy(guest, seen)
    yield from filter(None, [_other_disks(guest, seen, selection)])


def busy(guest: str, seen: sight.Sight) -> Iterator[str]:
    """Say which jobs and records keep a guest from being migrated."""
    for target, kind in seen.block_jobs.items():
        yield (
            f'disk {target} has a {kind}. Wait until that job ends, or abort '
            f'it with "virsh blockjob {guest} {target} --abort".'
        )
    if seen.snapshots:
        yield (
            f'it has the snapshot {", ".join(seen.snapshots)}, with which '
            f'libvirt migrates no guest. Delete the snapshot, or only '
            f'libvirt\'s record of it with "virsh snapshot-delete {guest} '
            f'NAME --metadata".'
        )
    if seen.checkpoints:
        yield (
            f'it has the checkpoint {", ".join(seen.checkpoints)}, and '
            f'libvirt forgets checkpoints when a guest moves. Delete each '
            f'with "virsh checkpoint-delete {guest} NAME". The next backup is '
            f'then a full one.'
        )
    if seen.domain_job not in (None, hypervisor.MIGRATION):
        yield f'it has a job ({seen.domain_job}). Wait until that job ends.'


def _changed(seen: sight.Sight, move: model.Move) -> str | None:
    disk = seen.disks.get(move.disk)
    if disk is None:
        return f'disk {move.disk} was detached. Attach it again.'
    layers = disk.layers
    top = move.top()
    if top in layers[1:]:
        return (
            f'disk {move.disk} writes to {layers[0].path}, on top of '
            f'{top.path}. A backup tool, or an external snapshot, has put '
            f'that image there, and the guest goes on using it. Remove it '
            f'first, with that tool.'
        )
    if disk.source != top:
        paths = ', '.join(layer.path for layer in layers)
        return (
            f'disk {move.disk} no longer has the layers of {top.path}, but '
            f'{paths or "another source"}. A block pull, commit or copy '
            f'changes the layers of a disk. Wait until it has ended.'
        )
    size = seen.sizes.get(move.disk, move.size_bytes)
    if size != move.size_bytes:
        return (
            f'disk {move.disk} was resized from {move.size_bytes} to {size} '
            f'bytes. Resize it before or after a migration.'
        )
    return None


def _other_disks(
    guest: str, seen: sight.Sight, selection: plan.Selection
) -> str | None:
    """Say which disk can no longer be left alone."""
    try:
        now = plan.select(
            guest,
            seen.disks,
            selection.moves,
            {
                target: why
                for target, why in selection.shared.items()
                if target in seen.disks
            },
        )
    except exception.Refused as e:
        return str(e)
    known = {left.disk: left.path for left in selection.left_alone}
    for left in now.left_alone:
        if left.path is not None and left.path != known.get(left.disk):
            return (
                f'disk {left.disk} has the image {left.path} now. The '
                f'destination was not asked whether it has that image. Detach '
                f'the disk, or eject the medium.'
            )
    return None
