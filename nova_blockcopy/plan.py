# SPDX-License-Identifier: Apache-2.0
"""Which disks move, which are left alone, and what is refused: pure policy.

Each decision carries its reason. Nothing here looks at a host: the facts are
arguments.
"""

import dataclasses
from collections.abc import Collection
from collections.abc import Mapping

from nova_blockcopy import exception
from nova_blockcopy import model


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Versions as libvirt counts them: major * 1000000 + minor * 1000."""

    libvirt: int
    hypervisor: int


#: Nova 31 to 34 ask for these; the late opening of backing chains (libvirt
#: 6.2, QEMU 5.0) and the consistent abort (libvirt 7.3) are older.
MINIMUM = Versions(libvirt=8_000_000, hypervisor=6_002_000)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeftAlone:
    """A disk that stays where it is, and why."""

    disk: str
    reason: str
    path: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What becomes of each disk of a guest; nothing is looked up yet."""

    moves: tuple[str, ...]
    left_alone: tuple[LeftAlone, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BaseFacts:
    """What the destination found at the path of a base.

    ``holders`` are those that have it open, in words.
    """

    image: model.Image
    size_bytes: int
    identity: model.ImageIdentity
    holders: tuple[str, ...] = ()
    backing_digest: str | None = None


def check_versions(host: str, versions: Versions) -> None:
    """Pass if a host's libvirt and QEMU are new enough.

    :raises VersionTooOld: one of them is not
    """
    for program, have, minimum in (
        ('libvirt', versions.libvirt, MINIMUM.libvirt),
        ('QEMU', versions.hypervisor, MINIMUM.hypervisor),
    ):
        if have < minimum:
            raise exception.VersionTooOld(
                program=program,
                host=host,
                version=dotted(have),
                minimum=dotted(minimum),
            )


def check_encryption(host: str, *, tls: bool, allow_plaintext: bool) -> None:
    """Pass if disks may leave a host in the way that they would.

    :raises PlaintextRefused: they may not
    """
    if not (tls or allow_plaintext):
        raise exception.PlaintextRefused(host=host)


def check_same_encryption(
    host: str, ours: bool, peer: str, theirs: bool
) -> None:
    """Pass if both hosts want exports encrypted, or neither does.

    :raises EncryptionDiffers: only one does
    """
    if ours != theirs:
        raise exception.EncryptionDiffers(
            host=host, ours=ours, peer=peer, theirs=theirs
        )


def dotted(version: int) -> str:
    """A version as people write it, from libvirt's number for it."""
    return '.'.join(
        str(version // unit % 1000) for unit in (1_000_000, 1_000, 1)
    )


def select(
    guest: str,
    disks: Mapping[str, model.Disk],
    wanted: Collection[str],
    shared: Mapping[str, str],
) -> Selection:
    """Decide on each disk of a guest.

    :param wanted: the targets that a base was made for
    :param shared: targets that the destination reaches by itself, and why
    :raises Refused: a disk can neither be moved nor be left alone
    """
    for target in (*wanted, *shared):
        if target not in disks:
            raise exception.DiskNotFound(
                guest=guest,
                disk=target,
                disks=', '.join(disks) or 'none',
            )
    for disk in disks.values():
        if disk.mirror_ready is not None:
            raise exception.JobRunning(guest=guest, disk=disk.target)
    if not wanted:
        raise exception.Refused(
            f'Guest "{guest}": no disk to move was named; give a base for '
            f'each local disk of: {", ".join(disks)}.'
        )
    left_alone = []
    for disk in disks.values():
        if disk.target in wanted:
            _check_movable(guest, disk)
        else:
            left_alone.append(_leave(guest, disk, shared))
    return Selection(
        moves=tuple(target for target in disks if target in wanted),
        left_alone=tuple(left_alone),
    )


def _leave(
    guest: str, disk: model.Disk, shared: Mapping[str, str]
) -> LeftAlone:
    if disk.target in shared:
        # where it is over there is for whoever said so to know
        return LeftAlone(disk=disk.target, reason=shared[disk.target])
    if disk.source is None and disk.obstacle is None:
        return LeftAlone(disk=disk.target, reason='the drive is empty')
    if disk.readonly:
        reason = 'it is read-only'
    elif disk.shareable:
        reason = 'it is shareable, so shared already'
    elif isinstance(disk.source, model.NetworkSource):
        reason = f'it is on {disk.source.protocol}, not local'
    else:
        raise exception.DiskRefused(
            guest=guest,
            disk=disk.target,
            reason='it is local and writable, but no base was given for it; '
            'make one on the destination and name it.',
        )
    return LeftAlone(disk=disk.target, reason=reason, path=disk.path)


def _check_movable(guest: str, disk: model.Disk) -> None:
    source = disk.source
    reason = disk.obstacle
    if disk.device != 'disk':
        reason = f'it is a {disk.device}'
    elif disk.readonly:
        reason = 'it is read-only; copy its image by other means'
    elif disk.shareable:
        reason = 'it is shareable, another guest may write to it'
    elif isinstance(source, model.NetworkSource):
        reason = f'it is on {source.protocol}, not local'
    elif source is None and reason is None:
        reason = 'it has no image'
    elif isinstance(source, model.Image) and reason is None:
        reason = _unexportable(source)
    if reason is not None:
        raise exception.DiskRefused(
            guest=guest, disk=disk.target, reason=f'{reason}.'
        )


def _unexportable(source: model.Image) -> str | None:
    if source.format is model.ImageFormat.QCOW2 and (
        source.kind is model.ImageKind.BLOCK
    ):
        return 'a qcow2 on a block device cannot grow while it is exported'
    if source.backing and source.format is model.ImageFormat.RAW:
        return 'a raw image cannot have a backing file'
    return None


def move(
    source: model.SourceDisk, base: BaseFacts, *, whole: bool = False
) -> model.Move:
    """Pair a disk with its base, or say why they do not fit.

    :param whole: all layers of the disk are to go into the base

    :raises BaseRefused: the base is of no use for this disk
    """
    reason = (
        _unusable(source, base)
        or _wrong_size(source.size_bytes, base.size_bytes)
        or _wrong_layers(source, base, whole=whole)
    )
    if reason is not None:
        raise exception.BaseRefused(
            path=base.image.path, disk=source.disk, reason=reason
        )
    return model.Move(
        disk=source.disk,
        source=source.image,
        base=base.image,
        size_bytes=source.size_bytes,
        whole=whole,
    )


def _unusable(source: model.SourceDisk, base: BaseFacts) -> str | None:
    if base.identity == source.identity:
        return 'it is the source image itself; make one of its own.'
    if base.holders:
        return f'it is in use by {", ".join(base.holders)}.'
    if base.image.format is model.ImageFormat.QCOW2 and (
        base.image.kind is model.ImageKind.BLOCK
    ):
        return 'a qcow2 must be a file, on a block device it cannot grow.'
    return None


def _wrong_size(disk: int, base: int) -> str | None:
    # QEMU's mirror takes images of equal size only (block/mirror.c)
    if base == disk:
        return None
    kind = 'too small' if base < disk else 'too large'
    return (
        f'it is {kind}: it has {base} bytes, the disk has {disk}; make it '
        f'of exactly that size.'
    )


def _wrong_layers(
    source: model.SourceDisk, base: BaseFacts, *, whole: bool
) -> str | None:
    ours, theirs = source.image.backing, base.image.backing
    if theirs is None and (whole or ours is None):
        return None
    if whole:
        return 'it has a backing file, but is to take all layers of the disk.'
    if ours is None:
        return 'it has a backing file, but the disk has none.'
    if theirs is None:
        return (
            'it has no backing file, but the disk has one; only the top '
            'layer is copied, so make it on top of the same backing file.'
        )
    if source.backing_digest != base.backing_digest:
        return (
            f'its backing file {theirs.path} differs from the one of the '
            f'disk, {ours.path}.'
        )
    return None


def check_unique(bases: Mapping[str, BaseFacts]) -> None:
    """Pass if no two disks share a base.

    :raises BaseRefused: two do
    """
    seen: dict[model.ImageIdentity, str] = {}
    for disk, base in bases.items():
        other = seen.setdefault(base.identity, disk)
        if other != disk:
            raise exception.BaseRefused(
                path=base.image.path,
                disk=disk,
                reason=f'it is the base of disk {other} too.',
            )
