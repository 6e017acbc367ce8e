# SPDX-License-Identifier: Apache-2.0
"""The peer channel over Nova's RPC.

``check_instance_shared_storage`` is in every Nova, and carries a dictionary
from one driver to another and the answer back. Nobody but the two hosts'
drivers looks into it.
"""

from typing import Any

import oslo_messaging

from nova_blockcopy import exception
from nova_blockcopy.migration import peer
from nova_blockcopy.nova import compat
from nova_blockcopy.runtime import waiting

KEY = 'nova_blockcopy'
_QUESTIONS = 5
#: Seconds between them.
_PAUSE = 2


class RpcChannel:
    """To one destination. Runs on the source.

    :param context: Nova's request context
    :param host: the other host's name in Nova
    :param questions: how often a question is asked at most; each waits for
        [DEFAULT] rpc_response_timeout
    """

    def __init__(
        self, context: Any, host: str, questions: int = _QUESTIONS
    ) -> None:
        self._context = context
        self._host = host
        self._questions = questions
        self._rpc = compat.ComputeAPI()

    def call(self, message: peer.Message) -> peer.Message:
        """Send a message, and wait for its answer.

        A question is repeated while the other nova-compute may be starting
        again; an order is not, as it may have been carried out.

        :raises PeerError: none came, or not from this plugin
        """
        if message['operation'] != 'status':
            return self._call(message)
        again = waiting.retrying(exception.PeerError, self._questions, _PAUSE)
        return again(self._call, message)

    def _call(self, message: peer.Message) -> peer.Message:
        # a driver without this plugin looks for the file, and says False
        data = {'filename': '/nonexistent', KEY: message}
        try:
            answer = self._rpc.check_instance_shared_storage(
                self._context, data, host=self._host
            )
        except oslo_messaging.MessagingException as e:
            raise exception.PeerError(
                operation=message['operation'],
                reason=f'no answer from {self._host} ({e}).',
            ) from e
        if not isinstance(answer, dict):
            raise exception.NoPeer(
                operation=message['operation'], host=self._host
            )
        return answer
