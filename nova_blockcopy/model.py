#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

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


def layers(image: Image) -> tuple[Image, ...]:
    """An image and all below it, top one first."""
    below = () if image.backing is None else layers(image.backing)
    return (image, *below)


def overlay(path: str, below: Image) -> Image:
    """A qcow2 file on top of another image."""
    return Image(
        path=path,
        kind=ImageKind.FILE,
        format=ImageFormat.QCOW2,
        backing=below,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One image of a disk, served over NBD by the source host.

    ``depth`` is 0 for the disk's own layer, which the guest writes to, and
    more for what lies below, which is only read. ``size_bytes`` is the
    length served: of the container, not of the disk. ``pid`` is the server's
    process on the source host. ``tls`` means that it is encrypted, and only
    for clients with a certificate.
    """

    disk: str
    address: str
    port: int
    name: str
    size_bytes: int
    pid: int
    depth: int = 0
    tls: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One image of a disk's chain; at depth 0 is what the guest writes to."""

    disk: str
    depth: int
    image: Image


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSource:
    """Where a network disk points, as far as it tells two apart."""

    protocol: str
    name: str
    address: str
    port: int
    tls: bool = False


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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One disk to move: from its source image into its base.

    ``whole`` means that the layers below the top one travel too, into a
    base that has none.

    In seeded mode the guest writes to ``deltas`` on the source, the last one
    of them, each on top of the one before and the first on the source image;
    what is in the last one at the switchover is copied into ``overlay``, on
    top of the base.
    """

    disk: str
    source: Image
    base: Image
    size_bytes: int
    whole: bool = False
    deltas: tuple[str, ...] = ()
    overlay: str | None = None

    @property
    def by_content(self) -> bool:
        """Whether it can travel only as what a guest sees of it."""
        return self.whole or self.source.format is not self.base.format

    def travelling(self) -> tuple[Image, ...]:
        """The layers of the source that are exported, top one first."""
        return layers(self.source) if self.whole else (self.source,)

    def frozen(self) -> Image:
        """What the guest runs on at the source: the deltas, if any."""
        top = self.source
        for path in self.deltas:
            top = overlay(path, top)
        return top

    def window(self) -> 'Move':
        """What is left to move at the switchover: all, or the last delta."""
        if self.overlay is None:
            return self
        return Move(
            disk=self.disk,
            source=self.frozen(),
            base=overlay(self.overlay, self.base),
            size_bytes=self.size_bytes,
        )


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
    """One image of a disk that is to be brought to the destination.

    ``target`` is where it goes. ``by_content`` means that what a guest sees
    is served and copied, all layers of it, and not the image as it is.
    ``extents`` are to be copied; what else there is of the ``size_bytes`` is
    zeroes if ``afresh``, and is there already if not. A ``delta`` is then
    merged into what its target lies on top of.
    """

    disk: str
    source: Image
    target: Image
    export: Export
    extents: tuple[Extent, ...]
    size_bytes: int
    by_content: bool = False
    afresh: bool = True
    delta: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DiskProgress:
    """Bytes of one disk; ``total_bytes`` grows while the guest writes."""

    disk: str
    processed_bytes: int = 0
    total_bytes: int = 0
    ready: bool = False
    pivoted: bool = False
