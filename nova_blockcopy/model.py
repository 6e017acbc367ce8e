# SPDX-License-Identifier: Apache-2.0
"""The values that modules pass to one another.

All are frozen. Their methods and the functions here are pure: they compute
from fields and arguments only.
"""

import dataclasses
import enum
import re

#: A target (``<target dev=...>``) is a part of the names of files.
_TARGET = re.compile(r'[a-z][a-z0-9_]{0,31}')


class ImageKind(enum.StrEnum):
    """The kind of storage of an image, by libvirt's ``<disk type=...>``."""

    BLOCK = 'block'
    FILE = 'file'


class ImageFormat(enum.StrEnum):
    """The declared format of an image, by libvirt's ``<driver type=...>``."""

    RAW = 'raw'
    QCOW2 = 'qcow2'


class Mode(enum.StrEnum):
    """When the disks are copied."""

    #: The disks are copied in full after the switchover.
    DIRECT = 'direct'
    #: The frozen disks are copied before the switchover. Only the last delta
    #: is copied after the switchover.
    SEEDED = 'seeded'


class Verify(enum.StrEnum):
    """How much of the seeded data is compared with the source."""

    NONE = 'none'
    SAMPLE = 'sample'
    FULL = 'full'


class Role(enum.StrEnum):
    """The side of a migration that a host is on."""

    SOURCE = 'source'
    DESTINATION = 'destination'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A local image with its declared format and its whole backing chain.

    ``backing`` is the image below this one; None means that there is none.
    The format and the chain are always declared, never probed, because a
    guest can write a qcow2 header into its raw disk.
    """

    path: str
    kind: ImageKind
    format: ImageFormat
    backing: 'Image | None' = None


def raw_file(path: str) -> Image:
    """Describe a raw file."""
    return Image(path=path, kind=ImageKind.FILE, format=ImageFormat.RAW)


def chain(image: Image) -> tuple[Image, ...]:
    """An image and all layers below it, the top layer first."""
    below = () if image.backing is None else chain(image.backing)
    return (image, *below)


def overlay(path: str, below: Image) -> Image:
    """Describe a qcow2 file on top of another image.

    The file need not exist.
    """
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
    """TLS for the exports, at one end of the connection.

    ``directory`` holds the certificates of this host, under the file names
    that QEMU expects (``ca-cert.pem``, ``server-cert.pem``, ...). ``client``
    is the common name of the only client that a server accepts. At the end of
    the client it is empty.
    """

    directory: str
    side: Side
    client: str = ''


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One image of a disk, which the source host serves over NBD.

    With ``content`` the server shows the content as a guest reads it, from
    the image and all layers below it. Without ``content`` the server shows
    the bytes of the image's own file or device. ``writable`` marks the export
    that the guest writes to. ``size_bytes`` is the length of the export.
    ``pid`` is the process of the server on the source host. ``address``
    is empty and ``port``, ``size_bytes`` and ``pid`` are 0 until the server
    runs. ``tls`` means that the connection is encrypted and that the server
    accepts only the certificate of the destination.
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
    """The source of a network disk: the parts that tell two sources apart.

    ``backing`` is the layer below; None means that there is none.
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

    ``source`` is None for an empty drive, and for a source that is neither a
    supported local image nor a network disk. ``obstacle`` is the reason, in
    words, why the disk cannot move, as far as the XML shows one; an empty
    drive has none. ``mirror_ready`` is None if the XML shows no block job.
    ``mirror_path`` is the image that the block job copies into. ``top_path``
    is the path of the top layer, even if the layers below are not supported.
    """

    target: str
    device: str
    source: Image | NetworkSource | None
    readonly: bool = False
    shareable: bool = False
    cache: str | None = None
    obstacle: str | None = None
    mirror_ready: bool | None = None
    mirror_path: str | None = None
    top_path: str | None = None

    @property
    def direct(self) -> bool:
        """Whether QEMU bypasses the page cache, by the cache mode."""
        return self.cache in ('none', 'directsync')

    @property
    def layers(self) -> tuple[Image, ...]:
        """The local image and all layers below it, the top layer first."""
        return chain(self.source) if isinstance(self.source, Image) else ()

    @property
    def path(self) -> str | None:
        """The path of the local image; None if the disk has none."""
        return self.source.path if isinstance(self.source, Image) else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One disk to move from its source image into its base.

    ``size_bytes`` is the size of the disk as the guest sees it. ``whole``
    means that the layers below the top layer are copied too, into a base
    without a backing file.

    ``deltas`` are the paths of the deltas on the source in seeded mode, the
    lowest first. Each delta is on top of the one before, and the first one
    is on top of the source image. The guest writes to the last one. The
    destination does not know the deltas.
    """

    disk: str
    source: Image
    base: Image
    size_bytes: int
    whole: bool = False
    deltas: tuple[str, ...] = ()

    @property
    def by_content(self) -> bool:
        """Whether the source image must be seeded as a guest reads it.

        Its own bytes are of no use to a base of another format, or without
        a backing file.
        """
        return self.whole or self.source.format is not self.base.format

    def top(self) -> Image:
        """The image that the guest writes to on the source."""
        top = self.source
        for path in self.deltas:
            top = overlay(path, top)
        return top

    def below(self) -> Image | None:
        """The image below the top that the guest reads over the network.

        None if the top has no backing file, or if the destination has the
        same backing file.
        """
        return self.top().backing if self.deltas or self.whole else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How the libvirt of one host reaches the other host.

    ``uri`` leads to the other libvirt. ``migrate_uri`` is for the stream of
    memory between the two QEMUs (``tcp://ADDRESS``). If ``migrate_uri`` is
    empty, libvirt resolves the other host's name instead.
    """

    uri: str
    migrate_uri: str = ''


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A port of the source that stands for the exports to come.

    A program that connects to the port hears the ``word``.
    """

    address: str
    port: int
    word: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BaseRequest:
    """A base as the caller of the engine names it.

    ``format`` is None for the format of the disk. ``whole`` asks the engine
    to copy all layers of the disk into the base, which then has no backing
    file.
    """

    path: str
    format: ImageFormat | None = None
    whole: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImageIdentity:
    """Identifies an image, to tell whether two paths lead to the same one.

    ``boot`` is the boot id of the kernel, because device and inode numbers
    are valid on one host and until its next boot only. ``inode`` is 0 for a
    block device, which ``device`` identifies alone.
    """

    boot: str
    device: int
    inode: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceDisk:
    """The facts about one disk that the source sends to the destination.

    ``size_bytes`` is the size as the guest sees it. ``backing_digest`` is a
    SHA-256 checksum over all layers below the top layer, in hexadecimal; None
    if there is no such layer or ``verify_backing`` is off. ``direct`` means
    that the guest's QEMU bypasses the page cache (O_DIRECT).

    :raises ValueError: ``disk`` is no target of a disk
    """

    disk: str
    image: Image
    size_bytes: int
    identity: ImageIdentity
    backing_digest: str | None = None
    direct: bool = False

    def __post_init__(self) -> None:
        if not _TARGET.fullmatch(self.disk):
            raise ValueError(f'{self.disk!r} is no target of a disk')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CopySettings:
    """The parameters of one copy.

    ``granularity`` and ``buf_size`` are in bytes; 0 leaves the choice to the
    hypervisor. ``bandwidth`` is in bytes/s; 0 means no limit. ``shallow``
    copies the top layer only.
    """

    granularity: int = 512
    buf_size: int = 0
    synchronous_writes: bool = False
    bandwidth: int = 0
    shallow: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A range of an image, in bytes.

    :raises ValueError: the offset or the length is negative
    """

    offset: int
    length: int

    def __post_init__(self) -> None:
        if self.offset < 0 or self.length < 0:
            raise ValueError(f'{self} is no range of an image')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """One image of a disk that is copied before the switchover.

    The destination copies the ``extents`` from the ``export`` into the
    ``target``. With ``afresh`` the rest of the ``size_bytes`` becomes zeroes.
    Without it the target already has the rest. ``delta`` marks a delta: the
    destination creates a file for the delta, copies into that file, and then
    merges the file into the target.
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
        """Whether the image is copied as a guest reads it, with all layers."""
        return self.export.content


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DiskProgress:
    """How far the copying of one disk is.

    ``total_bytes`` grows while the guest writes.
    """

    disk: str
    processed_bytes: int = 0
    total_bytes: int = 0
    ready: bool = False
    pivoted: bool = False
