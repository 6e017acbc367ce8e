# SPDX-License-Identifier: Apache-2.0
"""Orders of an operator to the engine, from another process of this host.

The engine runs inside nova-compute. It listens at a Unix socket next to the
journal, which only Nova's user and root can reach. So an order needs no API
of Nova, and an engine that does not run is noticed at once.
"""

import contextlib
import json
import os
import pathlib
import socket
import threading
from collections.abc import Callable
from collections.abc import Iterator

from nova_blockcopy import exception
from nova_blockcopy.migration import peer
from nova_blockcopy.records import durable
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

Handle = Callable[[peer.Message], peer.Message]

#: The name of nova-compute's own socket.
SERVICE = 'nova-compute'
#: Have nova-compute try to settle a migration now. The answer tells in
#: ``settled`` whether that has succeeded.
SETTLE = 'settle'

#: Have nova-compute pass a ``message`` on to the host ``to``. Only messages
#: that change nothing are passed on.
RELAY = 'relay'

_DIRECTORY = 'control'
#: Asks only whether somebody listens.
_HELLO = {'operation': 'hello'}
#: The most bytes of an order or an answer.
_LONGEST = 64 * 1024
#: Seconds that a client may take for its order.
_PATIENCE = 10.0


@contextlib.contextmanager
def listening(directory: str, name: str, handle: Handle) -> Iterator[None]:
    """Answer orders in a ``with`` block; see :func:`listen`."""
    stop = listen(directory, name, handle)
    try:
        yield
    finally:
        stop()


def listen(directory: str, name: str, handle: Handle) -> Callable[[], None]:
    """Answer orders on a thread. Without a socket, nobody can order.

    :param directory: the directory of the journals
    :param name: the name of the socket: the UUID of a guest, or SERVICE
    :param handle: returns the answer to an order; called on threads
    :returns: ends that
    """
    try:
        server = _bound(directory, name)
    except OSError as e:  # a migration does not need orders
        LOG.warning(
            'Commands cannot reach this process at %s/%s: %s',
            *(directory, name, e),
        )
        return lambda: None

    stopping = threading.Event()
    serving = threading.Thread(
        target=logging.carried(_serve),
        args=[server, handle, stopping],
        name=f'blockcopy-control-{name}',
        daemon=True,
    )
    serving.start()

    def stop() -> None:
        stopping.set()
        # accept() of eventlet does not end with the shutdown (unix_accept()
        # in the kernel's net/unix/af_unix.c looks at that only if it blocks)
        with contextlib.suppress(OSError):
            _connected(directory, name, _PATIENCE).close()
        with contextlib.suppress(OSError):
            (pathlib.Path(directory) / _DIRECTORY / name).unlink()
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        serving.join(_PATIENCE)

    return stop


def attended(directory: str, name: str) -> bool:
    """Tell whether a process listens at a socket.

    :param directory: the directory of the journals
    :param name: that of the socket
    """
    try:
        Local(directory, name, _PATIENCE).call(_HELLO)
    except exception.NoEngine:
        return False
    except exception.PeerError:  # it is there, but busy
        return True
    return True


class Local:
    """A channel to the engine in another process of this host.

    :param directory: the directory of the journals
    :param name: that of the socket
    :param timeout: seconds to wait for the answer
    """

    def __init__(self, directory: str, name: str, timeout: float) -> None:
        self._directory = directory
        self._name = name
        self._timeout = timeout

    def call(self, message: peer.Message) -> peer.Message:
        """Give an order, and return the answer.

        :raises NoEngine: no process listens
        :raises PeerError: there was no answer in time
        """
        try:
            client = _connected(self._directory, self._name, self._timeout)
        except OSError as e:
            raise exception.NoEngine(reason=e.strerror) from e
        with client:
            try:
                client.sendall(json.dumps(message).encode() + b'\n')
                answer = json.loads(_line(client))
            except (OSError, ValueError) as e:
                raise exception.PeerError(
                    operation=message.get('operation'),
                    reason=f'the engine on this host gave no answer ({e}).',
                ) from e
        return dict(answer)


@contextlib.contextmanager
def _address(directory: str, name: str) -> Iterator[str]:
    """The address of a socket, however long its path is.

    An address has room for 107 characters (unix(7)).
    """
    fd = os.open(
        os.path.join(directory, _DIRECTORY), os.O_PATH | os.O_DIRECTORY
    )
    try:
        yield f'/proc/self/fd/{fd}/{os.path.basename(name)}'
    finally:
        os.close(fd)


def _bound(directory: str, name: str) -> socket.socket:
    place = os.path.join(directory, _DIRECTORY)
    durable.make_directory(place, 0o700)
    # of a process that was killed
    pathlib.Path(place, os.path.basename(name)).unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    try:
        with _address(directory, name) as address:
            server.bind(address)
            os.chmod(address, 0o600)
        server.listen()
    except BaseException:
        server.close()
        raise
    return server


def _connected(directory: str, name: str, timeout: float) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(timeout)
    try:
        with _address(directory, name) as address:
            client.connect(address)
    except BaseException:
        client.close()
        raise
    return client


def _serve(
    server: socket.socket, handle: Handle, stopping: threading.Event
) -> None:
    # This thread closes the socket. If another one did, the number of the
    # descriptor could have a new owner while this one still waits on it.
    with server:
        while True:
            try:
                client, _path = server.accept()
            except OSError:  # it was shut down
                return
            if stopping.is_set():
                client.close()
                return
            # an order may wait for the other host, and an abort must not
            threading.Thread(
                target=logging.carried(_answer),
                args=[client, handle],
                daemon=True,
            ).start()


def _answer(client: socket.socket, handle: Handle) -> None:
    with client:
        client.settimeout(_PATIENCE)
        try:
            message = json.loads(_line(client))
            answer = {} if message == _HELLO else handle(message)
            client.sendall(json.dumps(answer).encode() + b'\n')
        except (OSError, ValueError) as e:
            LOG.warning('An order was not understood: %s', e)


def _line(connection: socket.socket) -> bytes:
    with connection.makefile('rb') as f:
        return f.readline(_LONGEST)
