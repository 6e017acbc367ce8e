# SPDX-License-Identifier: Apache-2.0
"""An NBD server for one file that can hold back replies.

A test uses the server to choose the order in which requests of QEMU end.
The server implements only the part of NBD that QEMU's client needs.
"""

import contextlib
import pathlib
import socket
import struct
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Self

from nova_blockcopy.runtime import waiting

READ, WRITE, _DISCONNECT = 0, 1, 2
_GO, _ABORT = 7, 2
_ACK, _INFO, _UNSUPPORTED = 1, 3, 0x80000001
#: The transmission flags of the export: it has flags, and supports flush.
_FLAGS = 1 | 4


class Gate:
    """Serves one file to one client inside a ``with`` block.

    :param image: the file, whose size does not change
    :param address: the path of the unix socket to listen on
    """

    def __init__(self, image: pathlib.Path, address: pathlib.Path) -> None:
        self.address = address
        self._file = image.open('r+b', buffering=0)
        self._size = image.stat().st_size
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address))
        self._listener.listen()
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._command = READ
        self._count = 0
        self._held: list[bytes] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_ignored: object) -> None:
        for each in (self._listener, self._client):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        self._thread.join()
        self._file.close()

    @contextlib.contextmanager
    def hold(self, command: int, count: int) -> Iterator[None]:
        """Hold back the replies to the next requests until the block ends.

        The server still reads or writes at once.

        :param command: READ or WRITE; other requests are not held back
        :param count: how many replies to hold back
        """
        with self._lock:
            self._command, self._count = command, count
        try:
            yield
        finally:
            with self._lock:
                self._count = 0
            while self._held:
                self.release()

    def release(self) -> None:
        """Send the reply that has been held back longest."""
        with self._lock:
            reply = self._held.pop(0)
        self._send(reply)

    def wait_for_held(self, count: int, timeout: float) -> bool:
        """Wait until so many replies are held back, and tell if they are.

        :param timeout: seconds
        """
        return waiting.until(
            lambda: len(self._held) >= count, timeout=timeout, interval=0.01
        )

    def _send(self, reply: bytes) -> None:
        # the client may have died
        with contextlib.suppress(OSError), self._sending:
            if self._client is not None:
                self._client.sendall(reply)

    def _serve(self) -> None:
        try:
            self._client, _address = self._listener.accept()
            stream = self._client.makefile('rb')
            with stream:
                if self._negotiate(stream.read):
                    while self._answer(stream.read):
                        pass
        except (OSError, struct.error):
            # the client or this server has closed its socket
            return

    def _negotiate(self, read: Callable[[int], bytes]) -> bool:
        """Negotiate with the client; tell whether it opens the export."""
        self._send(struct.pack('>8s8sH', b'NBDMAGIC', b'IHAVEOPT', 1 | 2))
        read(4)
        while True:
            _magic, option, length = struct.unpack('>8sII', read(16))
            read(length)
            if option == _GO:
                info = struct.pack('>HQH', 0, self._size, _FLAGS)
                self._reply(option, _INFO, info)
            known = option in (_GO, _ABORT)
            self._reply(option, _ACK if known else _UNSUPPORTED)
            if known:
                return bool(option == _GO)

    def _reply(self, option: int, kind: int, data: bytes = b'') -> None:
        magic = 0x3E889045565A9
        self._send(struct.pack('>QIII', magic, option, kind, len(data)) + data)

    def _answer(self, read: Callable[[int], bytes]) -> bool:
        """Answer one request; tell whether another one may follow."""
        _magic, _flags, command, handle, offset, length = struct.unpack(
            '>IHHQQI', read(28)
        )
        reply = struct.pack('>IIQ', 0x67446698, 0, handle)
        if command == _DISCONNECT:
            return False
        if command == READ:
            self._file.seek(offset)
            reply += self._file.read(length)
        if command == WRITE:
            data = read(length)
            self._file.seek(offset)
            self._file.write(data)
        with self._lock:
            hold = self._count > 0 and command == self._command
            if hold:
                self._count -= 1
                self._held.append(reply)
        if not hold:
            self._send(reply)
        return True
