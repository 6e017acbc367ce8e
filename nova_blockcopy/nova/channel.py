# SPDX-License-Identifier: Apache-2.0
"""The peer channel over Nova's RPC.

Nova has no RPC for a driver outside its tree. But its call
``check_instance_shared_storage`` carries a dictionary from one driver to
another, and the answer back (``ComputeManager``). Nova itself looks into
neither.
"""

from typing import Any

import oslo_messaging

from nova_blockcopy import exception
from nova_blockcopy.migration import peer
from nova_blockcopy.nova import compat
from nova_blockcopy.runtime import waiting

KEY = 'nova_blockcopy'
#: How often a question is asked, and the seconds between two attempts.
_QUESTIONS = 5
_PAUSE = 2


class RpcChannel:
    """The channel to the driver of one other host.

    :param context: Nova's request context
    :param host: the other host's name in Nova
    :param questions: how often a question is asked at most. Each attempt
        waits up to ``[DEFAULT] rpc_response_timeout``.
    """

    def __init__(
        self, context: Any, host: str, questions: int = _QUESTIONS
    ) -> None:
        self._context = context
        self._host = host
        self._questions = questions
        self._rpc = compat.ComputeAPI()

    def call(self, message: peer.Message) -> peer.Message:
        """Send a message, and wait for the answer.

        A question (``status``) is repeated, because the other nova-compute
        may be starting again. An order is sent once, because the other host
        may have carried it out.

        :raises PeerError: no answer came
        :raises NoPeer: the other host does not run nova-blockcopy
        """
        if message['operation'] != 'status':
            return self._call(message)
        again = waiting.retrying(exception.PeerError, self._questions, _PAUSE)
        return again(self._call, message)

    def _call(self, message: peer.Message) -> peer.Message:
        # a driver without this plugin looks for this file, and answers False
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
