# SPDX-License-Identifier: Apache-2.0
"""Decisions before a migration: which disks move, and which are refused.

Pure: the facts about the hosts are arguments. Each decision has a reason.
The source decides on its disks. The destination decides on the bases.
"""

import dataclasses
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping

from nova_blockcopy import exception
from nova_blockcopy import model


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The versions of a host's libvirt and QEMU, as numbers of libvirt.

    A number is major * 1000000 + minor * 1000 + release.
    """

    libvirt: int
    hypervisor: int


#: Nova 31 to 34 require these versions. The engine needs older ones: the late
#: opening of backing chains is in libvirt 6.2 and QEMU 5.0, and the consistent
#: abort of a block job is in libvirt 7.3.
MINIMUM = Versions(libvirt=8_000_000, hypervisor=6_002_000)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeftAlone:
    """A disk that does not move, and the reason.

    ``path`` is the local image, which must exist on the destination too;
    None if there is none, or if the destination may have another path.
    """

    disk: str
    reason: str
    path: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The decision on each disk of a guest.

    ``moves`` are the targets of the disks that move. ``shared`` has the disks
    that the destination reaches without a copy, each with the reason.
    """

    moves: tuple[str, ...]
    left_alone: tuple[LeftAlone, ...]
    shared: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BaseFacts:
    """The facts about a base that the destination found at its path.

    ``size_bytes`` is the size as a guest sees it. ``holders`` name, in words,
    the processes and devices that have the base open. ``backing_digest`` is
    like that of :class:`model.SourceDisk`.
    """

    image: model.Image
    size_bytes: int
    identity: model.ImageIdentity
    holders: tuple[str, ...] = ()
    backing_digest: str | None = None


def check_versions(host: str, versions: Versions) -> None:
    """Pass if a host's libvirt and QEMU are new enough.

    :param host: the name of the host, for the message
    :raises VersionTooOld: libvirt or QEMU is older than ``MINIMUM``
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
    """Pass if exports are encrypted, or may be in clear text.

    :param host: the name of the source host, for the message
    :raises PlaintextRefused: exports would be in clear text, which
        ``allow_plaintext`` does not allow
    """
    if not (tls or allow_plaintext):
        raise exception.PlaintextRefused(host=host)


def check_same_encryption(
    host: str, ours: bool, peer: str, theirs: bool
) -> None:
    """Pass if ``export_tls`` is the same on both hosts.

    :param ours: ``export_tls`` of the host that runs this check
    :param theirs: ``export_tls`` of the other host
    :raises EncryptionDiffers: the two values differ
    """
    if ours != theirs:
        raise exception.EncryptionDiffers(
            host=host, ours=ours, peer=peer, theirs=theirs
        )


def dotted(version: int) -> str:
    """Write a version as people do (``9.0.0``), from libvirt's number."""
    return '.'.join(
        str(version // unit % 1000) for unit in (1_000_000, 1_000, 1)
    )


def select(
    guest: str,
    disks: Mapping[str, model.Disk],
    wanted: Collection[str],
    shared: Mapping[str, str],
) -> Selection:
    """Decide for each disk of a guest whether it moves. Runs on the source.

    :param guest: name, for messages
    :param disks: all disks of the guest, by target
    :param wanted: the targets of the disks that have a base
    :param shared: the targets of the disks that the destination can reach
        without the engine, each with the reason
    :raises DiskNotFound: the guest has no disk of a given target
    :raises DiskRefused: a disk can neither move nor be left alone
    :raises Refused: no disk has a base
    """
    for error in objections(guest, disks, wanted, shared):
        raise error
    return Selection(
        moves=tuple(target for target in disks if target in wanted),
        left_alone=tuple(
            _leave(guest, disk, shared)
            for disk in disks.values()
            if disk.target not in wanted
        ),
        shared=shared,
    )


def objections(
    guest: str,
    disks: Mapping[str, model.Disk],
    wanted: Collection[str],
    shared: Mapping[str, str],
) -> Iterator[exception.Refused]:
    """All errors for which :func:`select` raises the first one."""
    for target in (*wanted, *shared):
        if target not in disks:
            yield exception.DiskNotFound(
                guest=guest,
                disk=target,
                disks=', '.join(disks) or 'none',
            )
    if not wanted:
        yield exception.Refused(
            f'Guest "{guest}" has nothing to move: none of its disks '
            f'({", ".join(disks)}) has a base. Create a base for each local '
            f'disk, and name it.'
        )
    for disk in disks.values():
        try:
            if disk.target in wanted:
                _check_movable(guest, disk)
            else:
                _leave(guest, disk, shared)
        except exception.DiskRefused as e:
            yield e


def _leave(
    guest: str, disk: model.Disk, shared: Mapping[str, str]
) -> LeftAlone:
    if disk.target in shared:
        # only the caller knows its path on the destination
        return LeftAlone(disk=disk.target, reason=shared[disk.target])
    if disk.source is None and disk.obstacle is None:
        return LeftAlone(disk=disk.target, reason='the drive is empty')
    if disk.readonly:
        reason = 'it is read-only'
    elif disk.shareable:
        reason = 'it is shareable, so its storage is shared'
    elif isinstance(disk.source, model.NetworkSource):
        reason = f'it is on {disk.source.protocol}, not local'
    else:
        raise exception.DiskRefused(
            guest=guest,
            disk=disk.target,
            reason='it is local and writable, but no base was given for it. '
            'Create a base on the destination, and name it.',
        )
    return LeftAlone(disk=disk.target, reason=reason, path=disk.path)


def _check_movable(guest: str, disk: model.Disk) -> None:
    source = disk.source
    reason = disk.obstacle
    if disk.device != 'disk':
        reason = f'it is a {disk.device}; name no base for it'
    elif disk.readonly:
        reason = 'it is read-only; copy its image by other means'
    elif disk.shareable:
        reason = (
            'it is shareable, so another guest may write to it; name no base '
            'for it'
        )
    elif isinstance(source, model.NetworkSource):
        reason = f'it is on {source.protocol}, not local; name no base for it'
    elif source is None and reason is None:
        reason = 'it has no image; name no base for it'
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
        return (
            'a qcow2 image on a block device cannot grow during its export; '
            'convert the disk to a raw device, or to a qcow2 file'
        )
    if source.backing and source.format is model.ImageFormat.RAW:
        return (
            'a raw image cannot have a backing file; correct the definition '
            'of the guest'
        )
    return None


def is_made_on_each(disk: model.Disk) -> bool:
    """Whether each host makes the backing file of a disk by itself.

    See :func:`is_name_of_made`.
    """
    below = disk.layers[1:]
    return bool(below) and is_name_of_made(below[0].path)


def is_name_of_made(backing: str) -> bool:
    """Whether each host makes a backing file by itself, by the file's name.

    Nova formats the backing file of an ephemeral disk or a swap disk anew on
    each host, with new identifiers, so no two of them are equal. An overlay
    on the backing file of another host would be damaged. The engine
    therefore copies such a disk as a whole.
    """
    return backing.rpartition('/')[2].startswith(('ephemeral', 'swap'))


def move(
    source: model.SourceDisk, base: BaseFacts, *, whole: bool = False
) -> model.Move:
    """Pair a disk with its base. Runs on the destination.

    :param whole: copy all layers of the disk into the base
    :raises BaseRefused: the base does not fit the disk
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
    return paired(source, base.image, whole=whole)


def paired(
    source: model.SourceDisk, base: model.Image, *, whole: bool
) -> model.Move:
    """Return the move of a disk into a base that fits."""
    return model.Move(
        disk=source.disk,
        source=source.image,
        base=base,
        size_bytes=source.size_bytes,
        whole=whole,
    )


def _unusable(source: model.SourceDisk, base: BaseFacts) -> str | None:
    if base.identity == source.identity:
        return 'it is the source image itself. Create a separate image.'
    if base.holders:
        return (
            f'it is in use by {", ".join(base.holders)}. End that use, or '
            f'name another base.'
        )
    if base.image.format is model.ImageFormat.QCOW2 and (
        base.image.kind is model.ImageKind.BLOCK
    ):
        return (
            'a qcow2 base must be a file, because it cannot grow on a block '
            'device. Use a qcow2 file, or a raw base.'
        )
    return None


def _wrong_size(disk: int, base: int) -> str | None:
    # QEMU's mirror accepts images of equal size only (block/mirror.c)
    if base == disk:
        return None
    kind = 'too small' if base < disk else 'too large'
    return (
        f'it is {kind}: it has {base} bytes, the disk has {disk} bytes. '
        f'Create it with exactly {disk} bytes.'
    )


def _wrong_layers(
    source: model.SourceDisk, base: BaseFacts, *, whole: bool
) -> str | None:
    ours, theirs = source.image.backing, base.image.backing
    if theirs is None and (whole or ours is None):
        return None
    if whole:
        return (
            'it has a backing file, but all layers of the disk go into it. '
            'Create it without a backing file.'
        )
    if ours is None:
        return (
            'it has a backing file, but the disk has none. Create it without '
            'a backing file.'
        )
    if theirs is None:
        return (
            'it has no backing file, but the disk has one. Only the top '
            'layer is copied. Create it on top of the same backing file.'
        )
    if source.backing_digest != base.backing_digest:
        return (
            f'its backing file {theirs.path} differs from that of the disk, '
            f'{ours.path}. Copy the latter to the destination.'
        )
    return None


def check_unique(bases: Mapping[str, BaseFacts]) -> None:
    """Pass if each disk has a base of its own.

    :param bases: by the target of the disk
    :raises BaseRefused: two disks have the same base
    """
    seen: dict[model.ImageIdentity, str] = {}
    for disk, base in bases.items():
        other = seen.setdefault(base.identity, disk)
        if other != disk:
            raise exception.BaseRefused(
                path=base.image.path,
                disk=disk,
                reason=f'it is the base of disk {other} too. Create a base '
                f'for each disk.',
            )
