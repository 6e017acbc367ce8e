# SPDX-License-Identifier: Apache-2.0
"""The channel from the source to the destination, and its messages.

Messages and answers are dictionaries of plain JSON types, because Nova's own
channel between two compute hosts carries nothing else
(ComputeManager.check_instance_shared_storage). An error travels as data,
because Nova lets only exceptions of Nova's own classes cross.
"""

import contextlib
import json
import re
import uuid
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import Protocol

from nova_blockcopy import exception
from nova_blockcopy import wire
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

Message = dict[str, Any]

#: Characters of an error of the other host, which the journal keeps.
_LONGEST = 4096
_ID = re.compile(r'[0-9A-Za-z-]{1,64}')


class Channel(Protocol):
    """Carries a message to the other host, and the answer back.

    :raises PeerError: there was no answer
    """

    def call(self, message: Message) -> Message: ...


class InProcess:
    """A channel inside one process, for tests and tools.

    Messages still go through JSON. So a test fails if a message has a value
    that could not travel between hosts.

    :param handle: the destination's entry point
    """

    def __init__(self, handle: Callable[[Message], Message]) -> None:
        self._handle = handle

    def call(self, message: Message) -> Message:
        answer = self._handle(json.loads(json.dumps(message)))
        return dict(json.loads(json.dumps(answer)))


def operation_of(message: Any) -> str:
    """Return the name of an operation; empty if a message has none."""
    operation = message.get('operation') if isinstance(message, dict) else ''
    return wire.brief(operation) if isinstance(operation, str) else ''


def guest_of(message: Message) -> str:
    """Return the guest of a message. The UUID becomes a part of paths.

    :raises KeyError: the message has no guest
    :raises ValueError: the name is no UUID
    """
    guest = wire.unpack(message['guest'], str)
    if guest != str(uuid.UUID(guest)):
        raise ValueError(f'{wire.brief(guest)} is no UUID of a guest')
    return guest


def migration_of(message: Message) -> str:
    """Return the id of the migration, which becomes a part of paths.

    :raises KeyError: the message has no id
    :raises ValueError: the id could lead to another directory
    """
    migration = wire.unpack(message['migration'], str)
    if not _ID.fullmatch(migration):
        raise ValueError(f'{wire.brief(migration)} is no id of a migration')
    return migration


def about(message: Message) -> contextlib.AbstractContextManager[None]:
    """Have the lines about a message name its guest, if it has one."""
    try:
        guest = guest_of(message)
    except (LookupError, TypeError, ValueError):
        guest = None
    return logging.about(guest)


@contextlib.contextmanager
def understood(operation: str) -> Iterator[None]:
    """Turn errors about the shape of a message into ``PeerError``."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as e:
        LOG.exception('The message %s is not understood', operation)
        lacks = 'it lacks ' if isinstance(e, KeyError) else ''
        raise exception.PeerError(
            operation=operation,
            reason=f'the message is not understood ({lacks}{wire.brief(e)}); '
            f'run the same version of nova-blockcopy on both hosts.',
        ) from e


def ask(
    channel: Channel, operation: str, guest: str, **values: Any
) -> Message:
    """Send a message to the destination, and return the answer.

    :param guest: UUID
    :raises BlockCopyError: the destination's own error, or there was no answer
    """
    answer = channel.call({'operation': operation, 'guest': guest, **values})
    with understood(operation):
        raise_failure(answer.get('error'))
    return answer


def answered(operation: str, work: Callable[[], Message | None]) -> Message:
    """Carry out a message. An error becomes the answer."""
    try:
        with understood(operation):
            return work() or {}
    except exception.BlockCopyError as e:
        return {'error': failure(e)}


def failure(error: exception.BlockCopyError | None) -> Message | None:
    """Pack an error for a message; None stays None."""
    if error is None:
        return None
    return {'class': type(error).__name__, 'message': str(error)}


def raise_failure(error: Any) -> None:
    """Raise the error that a message carries; None raises nothing.

    :raises LookupError: the error lacks a part
    :raises ValueError: the error has another form
    """
    if error is not None:
        packed = wire.unpack(error, dict[str, wire.Text])
        raise exception.from_wire(
            packed['class'], wire.brief(packed['message'], _LONGEST)
        )
