# SPDX-License-Identifier: Apache-2.0
"""A rehearsal of the connection from a destination to the exports.

The source listens at the first free port of the exports, and the destination
connects. This proves the address, the route, and the firewall for that port.
It does not prove TLS, or the other ports.
"""

import contextlib
import secrets
import socket
import threading
from collections.abc import Iterator

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import export
from nova_blockcopy.runtime import task


@contextlib.contextmanager
def listening(host: str, settings: conf.Settings) -> Iterator[model.Rehearsal]:
    """Listen for the destination inside a ``with`` block. On the source.

    :param host: this host's name, for the message
    :raises ExportsRefused: no port for exports can be used
    """
    listener = _listener(host, settings)
    offered = model.Rehearsal(
        address=settings.export_address,
        port=listener.getsockname()[1],
        word=secrets.token_hex(16),
    )

    def answer(_cancelled: threading.Event) -> None:
        with contextlib.suppress(OSError):  # the listener is shut down
            while True:
                connection, _address = listener.accept()
                with connection:
                    connection.sendall(offered.word.encode())

    with listener:
        answering = task.Task('rehearsal', answer)
        try:
            yield offered
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            answering.wait(settings.call_timeout)


def _listener(host: str, settings: conf.Settings) -> socket.socket:
    first, last = settings.export_port_min, settings.export_port_max
    reason = ''
    for port in range(first, last + 1):
        try:
            return export.listen(settings.export_address, port)
        except OSError as e:
            reason = e.strerror or str(e)
    raise exception.ExportsRefused(
        host=host,
        reason=f'no port from {first} to {last} can be used at '
        f'{settings.export_address} ({reason}). Check [blockcopy] '
        f'export_address, export_port_min and export_port_max.',
    )


def check(host: str, offered: model.Rehearsal, timeout: float) -> None:
    """Pass if the source answers at a port for exports. On the destination.

    :param host: this host's name, for the message
    :param timeout: seconds
    :raises ExportsRefused: the source does not answer
    """
    reason = 'another program answers'
    try:
        with socket.create_connection(
            (offered.address, offered.port), timeout
        ) as connection:
            heard = connection.makefile('rb').read(len(offered.word))
        if heard.decode(errors='replace') == offered.word:
            return
    except OSError as e:
        reason = e.strerror or str(e)
    raise exception.ExportsRefused(
        host=host,
        reason=f'port {offered.port} of the source cannot be reached at '
        f'{offered.address} ({reason}). Check [blockcopy] export_address of '
        f'the source, and open the ports from its export_port_min to its '
        f'export_port_max.',
    )
