# SPDX-License-Identifier: Apache-2.0
"""Arguments of QEMU's programs that name images and credentials. Pure.

QEMU can take the name of an image for an address (``nbd://``), for options
(``json:{}``) or for an option of the program (``--help``). So a program gets
an image as a node, which names the driver of the file. A few arguments take
only a name. Such a name is an absolute path: QEMU looks for an address only
before the first slash (path_has_protocol, block.c).
"""

from collections.abc import Iterator
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import model

#: A block node, by the names of QMP's ``blockdev-add``.
Node = dict[str, Any]

#: QEMU's driver for each kind of image.
DRIVER = {
    model.ImageKind.BLOCK: 'host_device',
    model.ImageKind.FILE: 'file',
}
#: Takes no lock.
_UNLOCKED = {'locking': 'off'}
#: The id of the TLS credentials among the objects of a program.
TLS = 'tls'


def local(path: str) -> str:
    """Return a path that QEMU can take for nothing but a local path.

    :raises ImageError: the path is not absolute
    """
    if not path.startswith('/') or '\0' in path:
        raise exception.ImageError(
            path=repr(path),
            reason='it is no absolute path, so QEMU could take it for an '
            'address or an option; begin the path with "/".',
        )
    return path


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
    return {'driver': 'raw', 'file': {**file(image), **_UNLOCKED}}


def content(image: model.Image) -> Node:
    """Return a node for the guest-visible content, all layers together.

    The node takes no lock, because the guest's QEMU may hold the locks.
    """
    node = layer(image, _UNLOCKED)
    if image.backing is not None:
        node['backing'] = content(image.backing)
    return node


def content_down_to(image: model.Image, lowest: model.Image) -> Node:
    """Return a node for an unused image and the layers down to another one.

    QEMU finds a layer by name only if the node does not name its backing file
    (bdrv_find_backing_image, block.c), so the lowest layer has its own header
    followed.
    """
    node = layer(image)
    if image.path != lowest.path and image.backing is not None:
        node['backing'] = content_down_to(image.backing, lowest)
    return node


def layer(image: model.Image, options: Node | None = None) -> Node:
    """Return a node for one layer, without what lies below.

    :param options: more options for the file or device
    :raises ImageError: the path of the image is not absolute
    """
    return {
        'driver': image.format.value,
        'file': {**file(image), **(options or {})},
    }


def file(image: model.Image) -> Node:
    """Return a node for the file or device of an image.

    :raises ImageError: the path of the image is not absolute
    """
    return {'driver': DRIVER[image.kind], 'filename': local(image.path)}


def credentials(encryption: model.Encryption) -> str:
    """Return the value of ``--object`` for this host's certificates."""
    return (
        f'tls-creds-x509,id={TLS},endpoint={encryption.side},verify-peer=yes,'
        f'dir={escaped(encryption.directory)}'
    )
