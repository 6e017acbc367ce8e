# SPDX-License-Identifier: Apache-2.0
"""A check that the other host's libvirt can be reached from this host.

The source checks the way to the destination before any change. Otherwise
seeding could take hours before the switchover fails. The destination checks
the way back. Later libvirt itself connects: this check proves that a program
listens there, and that no firewall is in between. It does not prove that
libvirt accepts the certificate or the key of the other libvirt.
"""

import socket
import urllib.parse

from nova_blockcopy import exception
from nova_blockcopy.runtime import waiting

#: libvirt's ports by transport (docs/uri.rst, docs/remote.html).
_PORTS = {
    **{'tcp': 16509, 'tls': 16514, '': 16514},
    **dict.fromkeys(('ssh', 'libssh', 'libssh2'), 22),
}
#: A libvirtd that starts again refuses connections for a few seconds.
_ATTEMPTS = 8
_PAUSE = 0.5


def check_destination(host: str, uri: str, timeout: float) -> None:
    """Pass if the destination's libvirt can be reached. On the source.

    :param host: this host's name, for the message
    :param uri: the URI of the libvirt on the other host
    :param timeout: seconds
    :raises DestinationUnreachable: nothing answers, or the URI names no host
    """
    reason = fault(uri, timeout)
    if reason:
        raise exception.DestinationUnreachable(
            uri=uri, host=host, reason=reason
        )


def check_source(host: str, uri: str, timeout: float) -> None:
    """Pass if the source's libvirt can be reached. On the destination.

    :param host: this host's name, for the message
    :param uri: the URI of the libvirt on the other host
    :param timeout: seconds
    :raises SourceUnreachable: nothing answers, or the URI names no host
    """
    reason = fault(uri, timeout)
    if reason:
        raise exception.SourceUnreachable(uri=uri, host=host, reason=reason)


def fault(uri: str, timeout: float) -> str:
    """Say why no program listens at the address of a URI; '' if one does.

    :param uri: of a libvirt
    :param timeout: seconds
    """
    try:
        parts = urllib.parse.urlsplit(uri)
        transport = parts.scheme.partition('+')[2]
        port = parts.port or _PORTS.get(transport)
        if not parts.hostname or port is None:
            raise ValueError(
                'it must name a host and the transport tcp, tls or ssh'
            )
        connect = waiting.retrying(ConnectionRefusedError, _ATTEMPTS, _PAUSE)
        connect(
            socket.create_connection, (parts.hostname, port), timeout
        ).close()
    except ValueError as e:  # also from a name that cannot be encoded
        return f'{e}. Correct this URI.'
    except OSError as e:
        return (
            f'port {port} of {parts.hostname} does not answer '
            f'({e.strerror or e}); check that libvirt listens there and that '
            f'no firewall is in between.'
        )
    return ''
