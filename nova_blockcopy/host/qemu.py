# SPDX-License-Identifier: Apache-2.0
"""Arguments of QEMU's programs that name images and credentials. Pure."""

from collections.abc import Iterator
from typing import Any

from nova_blockcopy import model

#: A block node, by the names of QMP's ``blockdev-add``.
Node = dict[str, Any]

#: QEMU's driver for each kind of image.
DRIVER = {
    model.ImageKind.BLOCK: 'host_device',
    model.ImageKind.FILE: 'file',
}
#: The id of the TLS credentials among the objects of a program.
TLS = 'tls'


def escaped(value: str) -> str:
    """Escape a value for a list of options that commas separate."""
    return value.replace(',', ',,')


def options(node: Node) -> str:
    """Write a node as options for ``--image-opts``."""
    return ','.join(_flat(node))


def _flat(node: Node, prefix: str = '') -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}={escaped(str(value))}'


def part(node: Node, extent: model.Extent) -> Node:
    """Return a node for a part of another node, as a raw image."""
    return {
        'driver': 'raw',
        'offset': extent.offset,
        'size': extent.length,
        'file': node,
    }


def top(image: model.Image) -> Node:
    """Return a node for the bytes of the top layer's file or device.

    The node takes no lock, because the guest's QEMU may hold the locks.
    """
    return {'driver': 'raw', 'file': _file(image)}


def content(image: model.Image) -> Node:
    """Return a node for the guest-visible content, all layers together.

    The node takes no lock, because the guest's QEMU may hold the locks.
    """
    node: Node = {'driver': image.format.value, 'file': _file(image)}
    if image.backing is not None:
        node['backing'] = content(image.backing)
    return node


def _file(image: model.Image) -> Node:
    return {
        'driver': DRIVER[image.kind],
        'filename': image.path,
        'locking': 'off',
    }


def credentials(encryption: model.Encryption) -> str:
    """Return the value of ``--object`` for this host's certificates."""
    return (
        f'tls-creds-x509,id={TLS},endpoint={encryption.side},verify-peer=yes,'
        f'dir={escaped(encryption.directory)}'
    )
