# SPDX-License-Identifier: Apache-2.0
"""Bringing a piece of an exported image to an image of this host.

By ``qemu-img convert``, one process for each piece: it keeps several
requests in flight, leaves holes out, and holds a limit. What else was
measured is in the contributor guide.
"""

import json
import os
from collections.abc import Sequence

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import command
from nova_blockcopy.host import qemu
from nova_blockcopy.runtime import privsep

#: Requests in flight of one process; qemu-img takes no more.
_REQUESTS = 16


def is_serial(seed: model.Seed) -> bool:
    """Whether only one piece can be written at a time.

    QEMU lets one process at a time change a qcow2 (docs/interop/qcow2.rst).
    """
    return seed.by_content and seed.target.format is model.ImageFormat.QCOW2


def begin(seed: model.Seed, length: int) -> bool:
    """Make the target ready to be filled for the first time.

    :param length: bytes that are to be written
    :returns: whether it is all zeroes now
    :raises ImageError: it cannot be made ready
    """
    if seed.target.kind is model.ImageKind.BLOCK or is_serial(seed):
        return False
    # a base was made by its owner, what a delta lands in was not
    _empty(seed.target.path, length, seed.delta)
    return True


def fit(seed: model.Seed) -> None:
    """Give the target the length of its source, which may have grown since.

    :raises ImageError: it cannot be done
    """
    if seed.target.kind is model.ImageKind.FILE and not is_serial(seed):
        _resize(seed.target.path, seed.size_bytes)


@privsep.entrypoint
def _resize(path: str, length: int) -> None:
    try:
        os.truncate(path, length)
    except OSError as e:
        raise exception.ImageError(
            path=path,
            reason=f'it cannot be made {length} bytes long ({e.strerror}).',
        ) from e


@privsep.entrypoint
def _empty(path: str, length: int, new: bool) -> None:
    try:
        with open(path, 'wb' if new else 'r+b') as f:
            f.truncate(0)
            f.truncate(length)
    except OSError as e:
        raise exception.ImageError(
            path=path,
            reason=f'it cannot be emptied to be filled ({e.strerror}).',
        ) from e


def run(
    seed: model.Seed,
    piece: model.Extent,
    *,
    rate: int,
    zeroed: bool,
    encryption: model.Encryption | None,
    timeout: int,
) -> None:
    """Copy one piece; durable when it returns.

    :param rate: bytes/s; 0 = no limit
    :param zeroed: the target is zeroes there
    :param timeout: seconds
    :raises CommandFailed: with what qemu-img says
    """
    options = ['-n', '-W', '-m', str(_REQUESTS), '-t', 'writeback']
    if zeroed:
        options += ['--target-is-zero']
    if rate:
        options += ['-r', str(rate)]
    if encryption is not None:
        options += ['--object', qemu.credentials(encryption)]
    _convert(
        options,
        f'json:{json.dumps(qemu.part(_source(seed), piece))}',
        qemu.options(qemu.part(_target(seed), piece)),
        timeout,
    )


@privsep.entrypoint
def _convert(
    options: Sequence[str], source: str, target: str, timeout: int
) -> None:
    command.run(
        *('qemu-img', 'convert', *options),
        *('--target-image-opts', source, target),
        timeout=timeout,
    )


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
    node: qemu.Node = {
        'driver': qemu.DRIVER[seed.target.kind],
        'filename': os.path.abspath(seed.target.path),
    }
    if seed.target.kind is model.ImageKind.BLOCK:
        # what a piece leaves in the page cache keeps the link waiting when it
        # is flushed; "-t none" would ask for a lock that no other piece
        # leaves to it (BDRV_O_RESIZE in qemu-img.c)
        node['cache'] = {'direct': 'on'}
    if is_serial(seed):
        return {'driver': seed.target.format.value, 'file': node}
    return node
