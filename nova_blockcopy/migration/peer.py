# SPDX-License-Identifier: Apache-2.0
"""The channel from the source to the destination, and its messages.

Messages and answers are dictionaries of plain JSON types, because Nova's own
channel between two compute hosts carries nothing else
(ComputeManager.check_instance_shared_storage). An error travels as data,
because Nova lets only exceptions of Nova's own classes cross.
"""

import json
from collections.abc import Callable
from typing import Any
from typing import Protocol

from nova_blockcopy import exception

Message = dict[str, Any]


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


def ask(
    channel: Channel, operation: str, guest: str, **values: Any
) -> Message:
    """Send a message to the destination, and return the answer.

    :param guest: UUID
    :raises BlockCopyError: the destination's own error, or there was no answer
    """
    answer = channel.call({'operation': operation, 'guest': guest, **values})
    raise_failure(answer.get('error'))
    return answer


def answered(work: Callable[[], Message | None]) -> Message:
    """Carry out a message. An error becomes the answer."""
    try:
        return work() or {}
    except exception.BlockCopyError as e:
        return {'error': failure(e)}


def failure(error: exception.BlockCopyError | None) -> Message | None:
    """Pack an error for a message; None stays None."""
    if error is None:
        return None
    return {'class': type(error).__name__, 'message': str(error)}


def raise_failure(error: Message | None) -> None:
    """Raise the error that a message carries; None raises nothing."""
    if error is not None:
        raise exception.from_wire(error['class'], error['message'])
