# SPDX-License-Identifier: Apache-2.0
"""How QEMU's programs are told of images and credentials."""

from collections.abc import Iterator
from typing import Any

from nova_blockcopy import model

#: A block node, by the names of QMP's ``blockdev-add``.
Node = dict[str, Any]

#: The driver that opens what holds the bytes.
DRIVER = {
    model.ImageKind.BLOCK: 'host_device',
    model.ImageKind.FILE: 'file',
}
#: The name of the credentials, where there are any.
TLS = 'tls'


def escaped(value: str) -> str:
    """A value among others, as QEMU reads them."""
    return value.replace(',', ',,')


def options(node: Node) -> str:
    """What is to be opened, as ``--image-opts`` has it."""
    return ','.join(_flat(node))


def _flat(node: Node, prefix: str = '') -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}={escaped(str(value))}'


def part(node: Node, extent: model.Extent) -> Node:
    """A part of something, as a raw image of its own."""
    return {
        'driver': 'raw',
        'offset': extent.offset,
        'size': extent.length,
        'file': node,
    }


def top(image: model.Image) -> Node:
    """The bytes of the top layer, while a guest's QEMU holds the locks."""
    return {'driver': 'raw', 'file': _file(image)}


def content(image: model.Image) -> Node:
    """What a guest sees, all layers, while its QEMU holds the locks."""
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
    """The value of ``--object`` for certificates."""
    return (
        f'tls-creds-x509,id={TLS},endpoint={encryption.side},verify-peer=yes,'
        f'dir={escaped(encryption.directory)}'
    )
