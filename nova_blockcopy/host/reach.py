# SPDX-License-Identifier: Apache-2.0
"""A check that the destination's libvirt can be reached from the source.

The source checks this before any change. Otherwise seeding could take hours
before the switchover fails.
"""

import socket
import urllib.parse

from nova_blockcopy import exception

#: libvirt's ports by transport (docs/uri.rst, docs/remote.html).
_PORTS = {'tcp': 16509, 'tls': 16514, '': 16514, 'ssh': 22}


def check(host: str, uri: str, timeout: float) -> None:
    """Check that a program listens at the address of a libvirt URI.

    :param host: this host's name, for the message
    :param uri: the URI of the libvirt on the other host
    :param timeout: seconds
    :raises DestinationUnreachable: nothing answers, or the URI names no host
    """
    try:
        parts = urllib.parse.urlsplit(uri)
        transport = parts.scheme.partition('+')[2]
        port = parts.port or _PORTS.get(transport)
        if not parts.hostname or port is None:
            raise ValueError(
                'it must name a host and the transport tcp, tls or ssh'
            )
        socket.create_connection((parts.hostname, port), timeout).close()
    except ValueError as e:  # also from a name that cannot be encoded
        raise exception.DestinationUnreachable(
            uri=uri, host=host, reason=f'{e}.'
        ) from e
    except OSError as e:
        raise exception.DestinationUnreachable(
            uri=uri,
            host=host,
            reason=f'port {port} of {parts.hostname} does not answer '
            f'({e.strerror or e}); check that libvirt listens there and that '
            f'no firewall is in between.',
        ) from e
