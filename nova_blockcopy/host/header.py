# SPDX-License-Identifier: Apache-2.0
"""The header of a qcow2, judged before QEMU's programs open the image.

A header can name other files. A program that runs as root would open them, and
a merge would read or write them. So the helper process judges a header right
before the open. The code runs on both hosts.

``docs/interop/qcow2.rst`` in QEMU describes the format. A node cannot rule out
an external data file: QEMU takes the option ``data-file`` only for an image
that has one (qcow2_do_open, block/qcow2.c).
"""

import dataclasses
import itertools
import os
import stat
import struct
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import IO
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.host import access
from nova_blockcopy.runtime import privsep

_MAGIC = b'QFI\xfb'
#: The version without features. QEMU makes version 3.
_OLD = 2
#: The fields of version 2, and those that version 3 adds.
_FIELDS = struct.Struct('>4sIQIIQIIQQIIQ')
_MORE_FIELDS = struct.Struct('>QQQII')
#: The bits for the size of a cluster that QEMU opens (MIN_CLUSTER_BITS and
#: MAX_CLUSTER_BITS in block/qcow2.h).
_CLUSTER_BITS = range(9, 22)
#: QEMU takes no longer name of a backing file, in bytes.
_LONGEST_NAME = 1023
#: Incompatible features. The compression type and extended L2 entries are the
#: other two that the format knows.
_DIRTY, _CORRUPT, _DATA_FILE = 1 << 0, 1 << 1, 1 << 2
_KNOWN = (1 << 5) - 1
#: An autoclear feature: the external data file is a raw image of its own.
_RAW_DATA_FILE = 1 << 1
#: Types of header extensions.
_END = 0
_EXT_BACKING_FORMAT = 0xE2792ACA
_EXT_ENCRYPTION = 0x0537BE77
_EXT_DATA_FILE = 0x44415441
_EXTENSION = struct.Struct('>II')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The facts that a header must state.

    ``size_bytes`` is the virtual size; 0 allows any. ``backing`` has the names
    of the backing file that are allowed: an empty tuple allows no backing
    file, and None allows any. ``backing_format`` is the format of that file;
    empty allows any. ``cluster`` is the size of a cluster in bytes; 0 allows
    any.

    ``plain`` asks for an image as the engine makes deltas: version 3, without
    snapshots and incompatible features, in a file that only its owner, the
    user of the helper, can read and write.
    """

    size_bytes: int = 0
    backing: tuple[str, ...] | None = None
    backing_format: str = ''
    cluster: int = 0
    plain: bool = False


#: An image of this host, in which only other files are looked for.
LOCAL = Expected()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The parts of a header that decide; sizes in bytes."""

    version: int
    cluster: int
    size_bytes: int
    encryption: int
    snapshots: int
    incompatible: int
    autoclear: int
    backing: str
    extensions: Mapping[int, bytes]


def parse(first: bytes) -> Header:
    """Read a header. Pure.

    :param first: the first cluster of the file, or all of a shorter file
    :raises ValueError: the bytes are no valid header; the text is the reason
    """
    if len(first) < _FIELDS.size or not first.startswith(_MAGIC):
        raise ValueError('the file does not begin with a header of qcow2')
    _, version, name_at, name_length, bits, size, encryption, *tables = (
        _FIELDS.unpack_from(first)
    )
    if version not in (2, 3):
        raise ValueError(f'its header has version {version}, not 2 or 3')
    if bits not in _CLUSTER_BITS:
        raise ValueError(f'its clusters have 2^{bits} bytes')
    cluster = 1 << bits
    # QEMU reads zeroes beyond the end of the file
    first = first[:cluster].ljust(cluster, b'\0')
    incompatible, autoclear, end = (
        _features(first) if version > _OLD else (0, 0, _FIELDS.size)
    )
    return Header(
        version=version,
        cluster=cluster,
        size_bytes=size,
        encryption=encryption,
        snapshots=tables[4],
        incompatible=incompatible,
        autoclear=autoclear,
        backing=_name(first, name_at, name_length),
        extensions=dict(_extensions(first, end, name_at or cluster)),
    )


def _features(first: bytes) -> tuple[int, int, int]:
    """Return the incompatible and autoclear features, and the length."""
    incompatible, _compatible, autoclear, _order, length = (
        _MORE_FIELDS.unpack_from(first, _FIELDS.size)
    )
    least = _FIELDS.size + _MORE_FIELDS.size
    if not least <= length <= len(first) or length % 8:
        raise ValueError(f'its header claims to have {length} bytes')
    return incompatible, autoclear, length


def _name(first: bytes, at: int, length: int) -> str:
    """Return the name of the backing file; empty for none."""
    if not at:
        return ''
    if not 0 < length <= _LONGEST_NAME or at + length > len(first):
        raise ValueError(
            'the name of its backing file lies outside of the header'
        )
    return os.fsdecode(first[at : at + length])


def _extensions(
    first: bytes, begin: int, end: int
) -> Iterator[tuple[int, bytes]]:
    """Yield the extensions, as far as QEMU reads them.

    See qcow2_read_extensions in block/qcow2.c.
    """
    while begin + _EXTENSION.size <= end:
        kind, length = _EXTENSION.unpack_from(first, begin)
        if kind == _END:
            return
        begin += _EXTENSION.size
        if begin + length > end:
            raise ValueError('an extension of it is longer than the header')
        yield kind, first[begin : begin + length]
        begin += length + -length % 8


def judge(path: str, first: bytes, expected: Expected) -> None:
    """Pass if a program may open a qcow2. Pure.

    :param path: the path of the image, for the message
    :param first: the first cluster of the file, or all of a shorter file
    :raises HeaderError: the header is not as expected, or names other files
    """
    try:
        found = parse(first)
    except ValueError as e:
        raise exception.HeaderError(path=path, reason=e) from e
    reasons = itertools.chain(
        _dangers(found),
        _differences(found, expected),
        _extras(found) if expected.plain else (),
    )
    reason = next(reasons, None)
    if reason is not None:
        raise exception.HeaderError(path=path, reason=reason)


def _dangers(found: Header) -> Iterator[str]:
    """Yield what no image may have, wherever it comes from."""
    if (
        found.incompatible & _DATA_FILE
        or found.autoclear & _RAW_DATA_FILE
        or _EXT_DATA_FILE in found.extensions
    ):
        yield 'its data is in an external data file'
    if found.incompatible & ~_KNOWN:
        yield (
            f'it has unknown incompatible features '
            f'({found.incompatible & ~_KNOWN:#x})'
        )
    if found.incompatible & _CORRUPT:
        yield 'it is marked as corrupt'
    if found.encryption or _EXT_ENCRYPTION in found.extensions:
        yield 'it is encrypted'


def _differences(found: Header, expected: Expected) -> Iterator[str]:
    if expected.size_bytes not in (0, found.size_bytes):
        yield (
            f'its virtual size is {found.size_bytes} bytes instead of '
            f'{expected.size_bytes}'
        )
    if expected.cluster not in (0, found.cluster):
        yield (
            f'its clusters have {found.cluster} bytes instead of '
            f'{expected.cluster}'
        )
    if expected.backing is None:
        return
    if found.backing not in (expected.backing or ('',)):
        wanted = ' or '.join(map(repr, expected.backing)) or 'none'
        yield f'its backing file is {found.backing!r} instead of {wanted}'
    format_ = found.extensions.get(_EXT_BACKING_FORMAT, b'')
    if expected.backing_format.encode() not in (b'', format_):
        yield (
            f'the format of its backing file is {format_!r} instead of '
            f'{expected.backing_format}'
        )


def _extras(found: Header) -> Iterator[str]:
    """Yield what an image has beyond those that the engine makes."""
    if found.version == _OLD:
        yield f'its header has version {_OLD}'
    if found.incompatible:
        yield f'it has incompatible features ({found.incompatible:#x})'
    if found.snapshots:
        yield f'it has {found.snapshots} internal snapshots'


def layers(
    image: model.Image, known: Mapping[str, Expected] | None = None
) -> list[Any]:
    """Tell for each layer of a chain what its header must state.

    A raw layer has no header.

    :param known: the facts by path. The other layers are images of this host:
        if the chain ends with one of them, its header may name no more files.
    :returns: plain data for :func:`require`
    """
    known = known or {}
    return [
        wanted
        for layer in model.chain(image)
        for wanted in (
            single(layer.path, known.get(layer.path) or _local(layer))
            if layer.format is model.ImageFormat.QCOW2
            else [[layer.path, None]]
        )
    ]


def single(path: str, expected: Expected = LOCAL) -> list[Any]:
    """Tell what the header of one layer must state, without those below.

    :returns: plain data for :func:`require`
    """
    return [[path, wire.pack(expected)]]


def completed(base: model.Image, size: int) -> Expected:
    """Tell what the header of a base states once it is completed. Pure.

    :param base: the base, with its backing file
    :param size: virtual size in bytes
    """
    below = base.backing
    return Expected(
        size_bytes=size,
        backing=(below.path,) if below else (),
        backing_format=below.format.value if below else '',
    )


def _local(image: model.Image) -> Expected:
    return LOCAL if image.backing else Expected(backing=())


def require(wanted: Sequence[Any]) -> None:
    """Pass if QEMU may open all layers. Runs in the helper process.

    Call this in the entry point that opens the layers, right before.

    :param wanted: see :func:`layers`
    :raises HeaderError: see :func:`judge`; or others can write to the file
    :raises ImageError: a layer cannot be read
    """
    for path, packed in wanted:
        if packed is None:
            access.check_name(path)
        else:
            expected = access.unpack(packed, Expected)
            judge(path, _first(path, private=expected.plain), expected)


def require_followed(image: model.Image) -> None:
    """Pass if QEMU may follow the headers of a chain by itself.

    Runs in the helper process, as :func:`require` does.

    :raises HeaderError: a header names something else than an image
    :raises ForbiddenPath: a header names an image that lies elsewhere
    """
    for layer in model.chain(image):
        if layer.format is not model.ImageFormat.QCOW2:
            return
        name = parse(_first(layer.path)).backing
        if ':' in name.partition('/')[0]:
            raise exception.HeaderError(
                path=layer.path,
                reason=f'its backing file is {name!r}, which is no path',
            )
        if name:
            access.check(os.path.join(os.path.dirname(layer.path), name))


def _first(path: str, *, private: bool = False) -> bytes:
    """Read the first cluster of a qcow2."""
    try:
        with access.opened(path) as f:
            if private:
                _check_private(path, os.fstat(f.fileno()))
            return _first_cluster(f)
    except OSError as e:
        raise exception.ImageError(
            path=path,
            reason=f'it cannot be read ({e.strerror}). Check its rights and '
            f'its storage.',
        ) from e


@privsep.entrypoint
def check(wanted: Sequence[Any]) -> None:
    """Do the same as :func:`require`, from outside of the helper process."""
    require(wanted)


def _check_private(path: str, found: os.stat_result) -> None:
    """Prove that nobody can change a file between the look and the use."""
    if (
        not stat.S_ISREG(found.st_mode)
        or os.path.islink(path)
        or found.st_uid != os.geteuid()
        or stat.S_IMODE(found.st_mode) & ~(stat.S_IRUSR | stat.S_IWUSR)
    ):
        raise exception.HeaderError(
            path=path, reason='others could change the file meanwhile'
        )


def _first_cluster(f: IO[bytes]) -> bytes:
    first = f.read(_FIELDS.size)
    if len(first) < _FIELDS.size:
        return first
    bits = min(_FIELDS.unpack(first)[4], _CLUSTER_BITS[-1])
    return first + f.read(max((1 << bits) - len(first), 0))
