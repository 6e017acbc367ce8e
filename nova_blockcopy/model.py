# SPDX-License-Identifier: Apache-2.0
"""Values that are passed between modules: frozen, and free of behaviour."""

import dataclasses
import enum


class ImageKind(enum.StrEnum):
    """What holds the bytes; libvirt's ``<disk type=...>``."""

    BLOCK = 'block'
    FILE = 'file'


class ImageFormat(enum.StrEnum):
    RAW = 'raw'
    QCOW2 = 'qcow2'


class Mode(enum.StrEnum):
    """How the bulk of the disks travels.

    Direct: all of it after the switchover. Seeded: before it, from disks
    that the guest does not write to any more; only the rest after it.
    """

    DIRECT = 'direct'
    SEEDED = 'seeded'


class Verify(enum.StrEnum):
    """How much of what was seeded is compared with the source."""

    NONE = 'none'
    SAMPLE = 'sample'
    FULL = 'full'


class Role(enum.StrEnum):
    """The side of a migration that a host is on."""

    SOURCE = 'source'
    DESTINATION = 'destination'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A local image, with its declared format and its whole chain.

    ``backing`` of None means that there is none: an unknown chain cannot be
    expressed, because probing one is a security hole (a guest can write a
    qcow2 header into its raw disk).
    """

    path: str
    kind: ImageKind
    format: ImageFormat
    backing: 'Image | None' = None


def chain(image: Image) -> tuple[Image, ...]:
    """An image and all below it, top one first."""
    below = () if image.backing is None else chain(image.backing)
    return (image, *below)


def overlay(path: str, below: Image) -> Image:
    """A qcow2 file on top of another image."""
    return Image(
        path=path,
        kind=ImageKind.FILE,
        format=ImageFormat.QCOW2,
        backing=below,
    )


class Side(enum.StrEnum):
    """The end of an encrypted connection, as QEMU names it."""

    SERVER = 'server'
    CLIENT = 'client'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """TLS for the exports, at one end.

    ``directory`` has the certificates of this host, under QEMU's names.
    """

    directory: str
    side: Side


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One image of a disk, served over NBD by the source host.

    ``content`` means that the server shows what a guest sees of the image
    and of all layers below it; else it shows the bytes of the image's own
    file or device. ``writable`` is the one export that the guest writes to.
    ``size_bytes`` is the length served. ``pid`` is the server's process on
    the source host. ``tls`` means that it is encrypted, and only for clients
    with a certificate.
    """

    disk: str
    address: str
    port: int
    name: str
    size_bytes: int
    pid: int
    content: bool = False
    writable: bool = False
    tls: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSource:
    """Where a network disk points, as far as it tells two apart.

    ``backing`` is the layer below, None if there is none.
    """

    protocol: str
    name: str
    address: str
    port: int
    tls: bool = False
    backing: 'Image | NetworkSource | None' = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One ``<disk>`` of a domain.

    ``source`` is None for an empty drive and for sources that are neither
    local images nor network disks; ``obstacle`` then says what it is.
    """

    target: str
    device: str
    source: Image | NetworkSource | None
    readonly: bool = False
    shareable: bool = False
    cache: str | None = None
    obstacle: str | None = None
    mirror_ready: bool | None = None

    @property
    def path(self) -> str | None:
        """Of its local image, if it has one."""
        return self.source.path if isinstance(self.source, Image) else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One disk to move: from its source image into its base.

    ``whole`` means that the layers below the top one travel too, into a
    base that has none.

    In seeded mode the guest writes to the last one of ``deltas`` on the
    source. Each delta lies on top of the one before, and the first one on
    the source image. Only the source knows them.
    """

    disk: str
    source: Image
    base: Image
    size_bytes: int
    whole: bool = False
    deltas: tuple[str, ...] = ()

    @property
    def by_content(self) -> bool:
        """Whether it can travel only as what a guest sees of it."""
        return self.whole or self.source.format is not self.base.format

    def top(self) -> Image:
        """The image that the guest writes to on the source."""
        top = self.source
        for path in self.deltas:
            top = overlay(path, top)
        return top

    def below(self) -> Image | None:
        """The image below the top that the guest reads over the network.

        None if there is none, or if the destination has the same one.
        """
        return self.top().backing if self.deltas or self.whole else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How the other host's libvirt reaches a host.

    ``migrate_uri`` is for QEMU's own stream (``tcp://ADDRESS``); empty
    leaves it to libvirt, which asks the resolver for the host's name.
    """

    uri: str
    migrate_uri: str = ''


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BaseRequest:
    """A base as its owner names it; None = the same as the disk's.

    ``whole`` asks for all layers of the disk: the base has none below it.
    """

    path: str
    format: ImageFormat | None = None
    whole: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImageIdentity:
    """Tells whether two paths are one image, as far as one kernel knows."""

    boot: str
    device: int
    inode: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceDisk:
    """What the source tells the destination of one disk that may move."""

    disk: str
    image: Image
    size_bytes: int
    identity: ImageIdentity
    backing_digest: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CopySettings:
    """How a copy is run; bytes, and bytes/s with 0 for no limit."""

    granularity: int = 512
    buf_size: int = 0
    synchronous_writes: bool = False
    bandwidth: int = 0
    shallow: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A range of an image, in bytes."""

    offset: int
    length: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """One image of a disk that is copied before the switchover.

    ``extents`` are to be copied into the ``target``. The rest of the
    ``size_bytes`` is zeroes if ``afresh``; else the destination has it
    already. A ``delta`` goes to a file that the destination makes for it,
    and then merges into the target.
    """

    disk: str
    source: Image
    target: Image
    export: Export
    extents: tuple[Extent, ...]
    size_bytes: int
    afresh: bool = True
    delta: bool = False

    @property
    def by_content(self) -> bool:
        """Whether it travels as what a guest sees, all layers of it."""
        return self.export.content


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DiskProgress:
    """Bytes of one disk; ``total_bytes`` grows while the guest writes."""

    disk: str
    processed_bytes: int = 0
    total_bytes: int = 0
    ready: bool = False
    pivoted: bool = False
