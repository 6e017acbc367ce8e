# SPDX-License-Identifier: Apache-2.0
"""The messages between the drivers of two hosts, beside the engine's own.

Each message names an operation and a guest by its UUID, as the messages of
the engine do.
"""

from collections.abc import Callable
from typing import Protocol

from nova_blockcopy import wire
from nova_blockcopy.migration import peer

_CONFIG_DRIVE = 'config_drive'
#: Also named in the error of a host that is still making bases.
EXPECTED = 'expected'
_GUARDED = 'guarded'
#: Also named in the error of a removal that fails.
REMOVE_DELETED = 'remove_deleted'


class LocalDriver(Protocol):
    """Answers the questions and orders of another host's driver."""

    def write_config_drive(self, guest: str, content: str) -> None: ...

    def is_expected(self, guest: str, source: str) -> bool: ...

    def is_guarded(self, guest: str) -> bool: ...

    def remove_deleted(self, guest: str) -> None: ...


class RemoteDriver:
    """The driver of another host, from here.

    Each method raises the error of the other host. PeerError means that the
    host does not answer, NoPeer that it does not run nova-blockcopy.

    :param channel: to that host
    """

    def __init__(self, channel: peer.Channel) -> None:
        self._channel = channel

    def write_config_drive(self, guest: str, content: str) -> None:
        """Have the destination fill a guest's config drive."""
        peer.ask(self._channel, _CONFIG_DRIVE, guest, content=content)

    def is_expected(self, guest: str, source: str) -> bool:
        """Whether the destination has bases for a guest, and no journal yet.

        :param source: this host's name in Nova
        """
        answer = peer.ask(self._channel, EXPECTED, guest, source=source)
        return _truth(answer, EXPECTED)

    def is_guarded(self, guest: str) -> bool:
        """Whether the other host has a journal of a guest."""
        return _truth(peer.ask(self._channel, _GUARDED, guest), _GUARDED)

    def remove_deleted(self, guest: str) -> None:
        """Have the other host remove the rest of a deleted instance."""
        peer.ask(self._channel, REMOVE_DELETED, guest)


def _truth(answer: peer.Message, of: str) -> bool:
    with peer.understood(of):
        return wire.unpack(answer[of], bool)


def answer(message: peer.Message, local: LocalDriver) -> peer.Message | None:
    """Answer a message of this module; None if it is one of the engine."""
    operation = peer.operation_of(message)
    if operation not in _OPERATIONS:
        return None

    handler = _OPERATIONS[operation]
    return peer.answered(
        operation, lambda: handler(local, peer.guest_of(message), message)
    )


#: Carries out a message about a guest, by its UUID.
_Handler = Callable[[LocalDriver, str, peer.Message], peer.Message | None]
_OPERATIONS: dict[str, _Handler] = {
    _CONFIG_DRIVE: lambda local, guest, message: local.write_config_drive(
        guest, wire.unpack(message['content'], str)
    ),
    EXPECTED: lambda local, guest, message: {
        'expected': local.is_expected(
            guest, wire.unpack(message['source'], str)
        )
    },
    _GUARDED: lambda local, guest, _message: {
        'guarded': local.is_guarded(guest)
    },
    REMOVE_DELETED: lambda local, guest, _message: local.remove_deleted(guest),
}
