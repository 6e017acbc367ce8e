# SPDX-License-Identifier: Apache-2.0
"""Whether one host's libvirt can be reached from another, before it matters.

Asked on the source: a switchover to nowhere would be found out late.
"""

import socket
import urllib.parse

from nova_blockcopy import exception

#: libvirt's ports by transport (docs/uri.rst, docs/remote.html).
_PORTS = {'tcp': 16509, 'tls': 16514, '': 16514, 'ssh': 22}


def check(host: str, uri: str, timeout: float) -> None:
    """Pass if something listens where a libvirt URI leads.

    :param uri: of a libvirt on another host
    :param timeout: seconds
    :raises DestinationUnreachable: nothing does, or the URI leads nowhere
    """
    try:
        parts = urllib.parse.urlsplit(uri)
        transport = parts.scheme.partition('+')[2]
        port = parts.port or _PORTS.get(transport)
        if not parts.hostname or port is None:
            raise ValueError('it must name a host, by tcp, tls or ssh')
        socket.create_connection((parts.hostname, port), timeout).close()
    except ValueError as e:  # also of a name that no resolver would take
        raise exception.DestinationUnreachable(
            uri=uri, host=host, reason=f'{e}.'
        ) from e
    except OSError as e:
        raise exception.DestinationUnreachable(
            uri=uri,
            host=host,
            reason=f'port {port} of {parts.hostname}: {e.strerror or e}.',
        ) from e
