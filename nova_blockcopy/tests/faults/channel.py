# SPDX-License-Identifier: Apache-2.0
"""The channel between two services, and the troubles that it can have.

The channel behaves like the one over Nova's RPC
(``nova_blockcopy.nova.channel``): it repeats a question without an answer, and
sends an order once.
"""

import json
import pathlib
import socket
import threading
import time
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy.migration import peer
from nova_blockcopy.runtime import waiting

#: Seconds to wait for an answer; Nova's default is 60.
_RESPONSE = 15
#: Seconds between two attempts of a question, and how often it is asked.
_PAUSE = 1
QUESTIONS = 5
#: Seconds by which a late answer is late, and after which a lost answer is
#: missed.
_LATE = 4
_LOST = 1


class Trouble:
    """The trouble that the next messages of a service have."""

    def __init__(self) -> None:
        self._kind = ''
        self._left = 0
        self._lock = threading.Lock()

    def begin(self, kind: str, messages: int) -> None:
        """Begin a trouble.

        :param kind: ``lost`` or ``late`` for the answers, ``twice`` for
            messages that are delivered twice
        :param messages: how many messages have the trouble
        """
        with self._lock:
            self._kind, self._left = kind, messages

    def take(self) -> str:
        """Return the trouble of the next message; '' for none."""
        with self._lock:
            if not self._left:
                return ''
            self._left -= 1
            return self._kind


class Channel:
    """The channel to the service of the other host.

    :param address: the socket of that service
    :param questions: how often a question is asked at most
    """

    def __init__(
        self,
        address: pathlib.Path,
        trouble: Trouble,
        questions: int = QUESTIONS,
    ) -> None:
        self._address = address
        self._trouble = trouble
        self._questions = questions

    def call(self, message: peer.Message) -> peer.Message:
        """Send a message, and wait for the answer.

        :raises PeerError: no answer came
        """
        if message['operation'] != 'status':
            return self._call(message)
        again = waiting.retrying(exception.PeerError, self._questions, _PAUSE)
        answer: peer.Message = again(self._call, message)
        return answer

    def _call(self, message: peer.Message) -> peer.Message:
        trouble = self._trouble.take()
        answer = self._deliver(message)
        if trouble == 'twice':
            self._deliver(message)
        if trouble == 'late':
            time.sleep(_LATE)
        if trouble == 'lost':
            time.sleep(_LOST)
            raise _unanswered(message, 'the answer was lost')
        return answer

    def _deliver(self, message: peer.Message) -> peer.Message:
        try:
            return ask(self._address, 'answer', _RESPONSE, message=message)
        except (OSError, ValueError) as e:
            raise _unanswered(message, e) from e


def ask(
    address: pathlib.Path, name: str, timeout: float, **values: Any
) -> dict[str, Any]:
    """Ask a service, and return the answer.

    :param timeout: seconds
    :raises OSError: the service does not answer
    :raises ValueError: the service ended in the middle of its answer
    """
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout)
        line.connect(str(address))
        with line.makefile('rw') as stream:
            stream.write(json.dumps({'ask': name, **values}) + '\n')
            stream.flush()
            return dict(json.loads(stream.readline()))


def _unanswered(message: peer.Message, reason: object) -> exception.PeerError:
    return exception.PeerError(
        operation=message['operation'], reason=f'no answer ({reason}).'
    )
