# SPDX-License-Identifier: Apache-2.0
"""The channel from the source to the destination, and what goes over it.

A message is a dictionary of plain JSON types each way, because Nova's own
channel between two compute hosts carries no more than that
(ComputeManager.check_instance_shared_storage). An error travels as data:
Nova lets only its own classes cross as exceptions.
"""

import json
from collections.abc import Callable
from typing import Any
from typing import Protocol

from nova_blockcopy import exception

Message = dict[str, Any]


class Channel(Protocol):
    """Carries a message to the other host and its answer back.

    :raises PeerError: there was no answer
    """

    def call(self, message: Message) -> Message: ...


class InProcess:
    """A channel inside one process, for tests and tools.

    Messages go through JSON all the same, so that nothing can travel here
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
    """Ask the destination to do something; raise what it raised.

    :param guest: UUID
    """
    answer = channel.call({'operation': operation, 'guest': guest, **values})
    raise_failure(answer.get('error'))
    return answer


def answered(work: Callable[[], Message | None]) -> Message:
    """Do what a message asks for; a failure is the answer."""
    try:
        return work() or {}
    except exception.BlockCopyError as e:
        return {'error': failure(e)}


def failure(error: exception.BlockCopyError | None) -> Message | None:
    """An error as it travels."""
    if error is None:
        return None
    return {'class': type(error).__name__, 'message': str(error)}


def raise_failure(error: Message | None) -> None:
    """Raise an error that has travelled."""
    if error is not None:
        raise exception.from_wire(error['class'], error['message'])
