# SPDX-License-Identifier: Apache-2.0
"""A rehearsal of the connection from a destination to the exports.

The source listens at the first free port of the exports, and the destination
connects. This proves the address, the route, and the firewall for that port.
It does not prove TLS, or the other ports. On the same connection, the
destination can measure the rate at which bytes arrive.
"""

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import export
from nova_blockcopy.runtime import task

#: Seconds for which the source sends, and those that a destination reads.
_SENDS_S = 1.0
_READS_S = 5.0
_BLOCK = 256 * 1024


@contextlib.contextmanager
def listening(
    host: str, settings: conf.Settings, *, sends: bool = False
) -> Iterator[model.Rehearsal]:
    """Listen for the destination inside a ``with`` block. On the source.

    :param host: this host's name, for the message
    :param sends: send for a second to each program that knows the word
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
                # the other program may end, or not read
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(_READS_S)
                    connection.sendall(offered.word.encode())
                    if sends:
                        _send(connection, offered.word)

    with listener:
        answering = task.Task('rehearsal', answer)
        try:
            yield offered
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            answering.wait(settings.call_timeout)


def _send(connection: socket.socket, word: str) -> None:
    """Send for a second, if the other program answers with the word."""
    if connection.makefile('rb').read(len(word)) != word.encode():
        return
    block = secrets.token_bytes(_BLOCK)  # no network makes it smaller
    until = time.monotonic() + _SENDS_S
    while time.monotonic() < until:
        connection.sendall(block)


def measure(offered: model.Rehearsal, timeout: float) -> float:
    """Measure the rate at which bytes come from the source.

    The bytes are not encrypted, and no storage takes part. Runs on the
    destination, after :func:`check`.

    :param timeout: seconds
    :returns: bytes/s; 0 if the source does not send
    """
    count, began = 0, time.monotonic()
    with (
        contextlib.suppress(OSError),
        socket.create_connection(
            (offered.address, offered.port), timeout
        ) as connection,
    ):
        connection.sendall(offered.word.encode())
        began = time.monotonic()
        while time.monotonic() - began < _READS_S and (
            block := connection.recv(_BLOCK)
        ):
            count += len(block)
    elapsed_s = time.monotonic() - began
    count -= len(offered.word)
    return max(0.0, count / elapsed_s) if elapsed_s > 0 else 0.0


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
