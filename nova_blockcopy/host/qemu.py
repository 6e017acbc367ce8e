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
#: The id of the rules for clients among the objects of a program.
AUTHORIZATION = 'authz'
#: The versions of TLS. QEMU's own default has TLS 1.0 and 1.1, too.
_PRIORITY = 'NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2'


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
        f'priority={_PRIORITY},dir={escaped(encryption.directory)}'
    )


def credential_files(encryption: model.Encryption) -> tuple[str, ...]:
    """Return the files that QEMU reads for TLS, some of which need not exist.

    See QCRYPTO_TLS_CREDS_X509_CA_CERT and others in tlscredsx509.h.
    """
    side = encryption.side
    return tuple(
        f'{encryption.directory}/{name}.pem'
        for name in (
            *('ca-cert', 'ca-crl', 'dh-params'),
            *(f'{side}-cert', f'{side}-key'),
        )
    )


def authorization(common_name: str) -> str:
    """Return the value of ``--object`` with the rules for clients.

    A server accepts only certificates whose subject has exactly one common
    name, which is this one, next to any other parts in any order.

    The first rule that matches a subject counts. The text of the subject
    comes from GnuTLS (qcrypto_tls_session_check_certificate in
    crypto/tlssession.c), which writes a backslash before each comma and plus
    sign of a value (str_escape in lib/x509/dn.c). So a bare comma always ends
    a part.

    :param common_name: has no character that GnuTLS escapes, or that stands
        for others in a pattern; see :func:`certificate.is_plain`
    """
    own = f'CN={common_name}'
    rules = (
        ('deny', 'glob', '*CN=*CN=*'),
        # a value of another part, such as "x,CN=name"
        ('deny', 'glob', '*\\,CN=*'),
        ('allow', 'exact', own),
        ('allow', 'glob', f'{own},*'),
        ('allow', 'glob', f'*,{own}'),
        ('allow', 'glob', f'*,{own},*'),
    )
    listed = ''.join(
        f',rules.{n}.policy={policy},rules.{n}.format={format_}'
        f',rules.{n}.match={escaped(match)}'
        for n, (policy, format_, match) in enumerate(rules)
    )
    return f'authz-list,id={AUTHORIZATION},policy=deny{listed}'
