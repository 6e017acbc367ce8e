# SPDX-License-Identifier: Apache-2.0
"""A client of NBD that does what a polite one does not.

The numbers are those of the protocol (doc/proto.md of the NBD project).
"""

import socket
import ssl
import struct
from typing import Self

from nova_blockcopy import model

EXPORT_NAME, LIST, START_TLS, INFO, GO = 1, 3, 5, 6, 7
STRUCTURED, LIST_CONTEXTS, SET_CONTEXT = 8, 9, 10
READ, WRITE, TRIM, ZEROES, RESIZE = 0, 1, 4, 6, 8
ACK, SERVER, INFORMATION = 1, 2, 3
TLS_REQUIRED, UNKNOWN = (1 << 31) + 5, (1 << 31) + 6
#: Errors by which a server refuses a request: EPERM and EINVAL.
REFUSED = (1, 22)
_GREETING = b'NBDMAGICIHAVEOPT'
_REPLY = 0x3E889045565A9
_REQUEST, _SIMPLE = 0x25609513, 0x67446698
#: The client knows the flags "fixed newstyle" and "no zeroes".
_FLAGS = 3


class Client:
    """One connection to a server, inside a ``with`` block.

    :param export: what the server serves
    """

    def __init__(self, export: model.Export) -> None:
        self._socket = socket.create_connection(
            (export.address, export.port), timeout=30
        )
        self._file = self._socket.makefile('rb')
        greeting = self._file.read(len(_GREETING) + 2)
        if not greeting.startswith(_GREETING):
            raise AssertionError(greeting)
        self._socket.sendall(struct.pack('>I', _FLAGS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, option: int, data: bytes = b'') -> list[tuple[int, bytes]]:
        """Send an option; return the kinds and data of all replies to it."""
        self._socket.sendall(
            struct.pack('>8sII', b'IHAVEOPT', option, len(data)) + data
        )
        replies = []
        while True:
            header = self._read(20)
            magic, _option, kind, length = struct.unpack('>QIII', header)
            if magic != _REPLY:
                raise AssertionError(hex(magic))
            replies.append((kind, self._read(length)))
            if kind not in (SERVER, INFORMATION):
                return replies

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on, after START_TLS.

        :raises OSError: the server refuses
        """
        self._socket = context.wrap_socket(self._socket)
        self._file = self._socket.makefile('rb')

    def go(self, name: str, option: int = GO) -> int:
        """Choose an export; return the kind of the last reply."""
        encoded = name.encode()
        data = struct.pack('>I', len(encoded)) + encoded + b'\0\0'
        return self.ask(option, data)[-1][0]

    def request(
        self, kind: int, offset: int, length: int, *, flags: int = 0
    ) -> int:
        """Send a request for the export; return the error of the reply."""
        data = b'\xee' * length if kind == WRITE else b''
        self._socket.sendall(
            struct.pack('>IHHQQI', _REQUEST, flags, kind, 1, offset, length)
            + data
        )
        magic, error, _cookie = struct.unpack('>IIQ', self._read(16))
        if magic != _SIMPLE:
            raise AssertionError(hex(magic))
        if kind == READ and not error:
            self._read(length)
        return int(error)

    def _read(self, length: int) -> bytes:
        found = self._file.read(length)
        if len(found) < length:
            raise ConnectionResetError('the server has hung up')
        return found
