# SPDX-License-Identifier: Apache-2.0
"""Copying a piece of an exported image into an image of this host.

The code runs on the destination. One ``qemu-img convert`` process copies each
piece. The process keeps several requests in flight, skips holes and obeys a
rate limit. The contributor guide compares this with other ways.
"""

import dataclasses
import json
import os
from typing import IO
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.host import access
from nova_blockcopy.host import bounds
from nova_blockcopy.host import command
from nova_blockcopy.host import confinement
from nova_blockcopy.host import files
from nova_blockcopy.host import header
from nova_blockcopy.host import qemu
from nova_blockcopy.runtime import privsep

#: Requests in flight of one process; qemu-img allows no more.
_REQUESTS = 16


def is_serial(seed: model.Seed) -> bool:
    """Tell whether the pieces of a seed must be written one after the other.

    Only one process at a time may change a qcow2 (docs/interop/qcow2.rst in
    QEMU).
    """
    return seed.by_content and seed.target.format is model.ImageFormat.QCOW2


def begin(seed: model.Seed, length: int) -> bool:
    """Prepare a target before the first piece.

    :param length: bytes to write
    :returns: whether the target is all zeroes now
    :raises ImageError: the target cannot be prepared
    """
    if seed.target.kind is model.ImageKind.BLOCK or is_serial(seed):
        return False
    # a base exists already; the file for a delta may not exist yet
    _empty(seed.target.path, length, seed.delta)
    return True


def fit(seed: model.Seed) -> None:
    """Set a target file to the length of the source, which may have grown.

    :raises ImageError: the length cannot be changed
    """
    if seed.target.kind is model.ImageKind.FILE and not is_serial(seed):
        _resize(seed.target.path, seed.size_bytes)


@privsep.entrypoint
def _resize(path: str, length: int) -> None:
    try:
        with access.opened(path, 'r+b') as f:
            f.truncate(length)
            os.fsync(f.fileno())
    except OSError as e:
        raise exception.ImageError(
            path=path,
            reason=f'its length cannot be set to {length} bytes '
            f'({e.strerror}). Check the storage of this host.',
        ) from e


@privsep.lasting
def _empty(path: str, length: int, new: bool) -> None:
    try:
        with _new(path) if new else access.opened(path, 'r+b') as f:
            f.truncate(0)
            f.truncate(length)
            os.fsync(f.fileno())
    except OSError as e:
        raise exception.ImageError(
            path=path,
            reason=f'it cannot be emptied before the copy ({e.strerror}). '
            f'Check the storage of this host.',
        ) from e


def _new(path: str) -> IO[bytes]:
    with access.place(path, *bounds.overlays()) as at:
        return os.fdopen(files.create(at), 'r+b')


def run(
    seed: model.Seed,
    piece: model.Extent,
    *,
    rate: int,
    zeroed: bool,
    encryption: model.Encryption | None,
    timeout: int,
) -> None:
    """Copy one piece, which is on stable storage when the call returns.

    :param rate: bytes/s; 0 = no limit
    :param zeroed: the target has zeroes at the place of the piece
    :param encryption: TLS for the export; None for clear text
    :param timeout: seconds
    :raises CommandFailed: qemu-img failed; the message has the standard error
    :raises HeaderError: the target is a qcow2 that may not be opened
    """
    # the extents may be many
    packed = wire.pack(dataclasses.replace(seed, extents=()))
    _convert(
        *(packed, wire.pack(piece), rate, zeroed),
        *(wire.pack(encryption), timeout),
    )


@privsep.lasting
def _convert(
    seed: Any,
    piece: Any,
    rate: int,
    zeroed: bool,
    encryption: Any,
    timeout: int,
) -> None:
    """Copy a piece.

    :param seed: a packed :class:`model.Seed`
    :param piece: a packed :class:`model.Extent`
    :param encryption: a packed :class:`model.Encryption`; None for clear text
    """
    wanted = access.unpack(seed, model.Seed)
    extent = access.unpack(piece, model.Extent)
    tls = encryption and access.unpack(encryption, model.Encryption)
    if tls:
        access.certificates(tls.directory)
    if is_serial(wanted):
        header.require(header.layers(wanted.target))
    else:
        access.check(wanted.target.path)
    command.run(
        *('qemu-img', 'convert', *_options(int(rate), tls, zeroed=zeroed)),
        '--target-image-opts',
        f'json:{json.dumps(qemu.part(_source(wanted), extent))}',
        qemu.options(qemu.part(_target(wanted), extent)),
        confined=confinement.of(
            _read_files(wanted, tls), [wanted.target.path]
        ),
        timeout=timeout,
    )


def _options(
    rate: int, encryption: model.Encryption | None, *, zeroed: bool
) -> list[str]:
    options = ['-n', '-W', '-m', str(_REQUESTS), '-t', 'writeback']
    if zeroed:
        options += ['--target-is-zero']
    if rate:
        options += ['-r', str(rate)]
    if encryption is not None:
        options += ['--object', qemu.credentials(encryption)]
    return options


def _read_files(
    seed: model.Seed, encryption: model.Encryption | None
) -> list[str]:
    below = list(model.chain(seed.target))[1:] if is_serial(seed) else []
    return [
        *(image.path for image in below),
        *(qemu.credential_files(encryption) if encryption else ()),
    ]


def _source(seed: model.Seed) -> qemu.Node:
    export = seed.export
    node: qemu.Node = {
        'driver': 'nbd',
        'server': {
            'type': 'inet',
            'host': export.address,
            'port': str(export.port),
        },
        'export': export.name,
    }
    return {**node, 'tls-creds': qemu.TLS} if export.tls else node


def _target(seed: model.Seed) -> qemu.Node:
    options: qemu.Node = {}
    if seed.target.kind is model.ImageKind.BLOCK:
        # Without direct I/O, the data of a piece waits in the page cache, and
        # the link is idle while the cache is flushed. "-t none" cannot be used
        # for this: it takes a lock that the process of another piece holds
        # (BDRV_O_RESIZE in qemu-img.c).
        options['cache'] = {'direct': 'on'}
    if is_serial(seed):
        return qemu.layer(seed.target, options)
    return {**qemu.file(seed.target), **options}
