# SPDX-License-Identifier: Apache-2.0
"""The channel to another host, through the nova-compute of this host."""

from nova_blockcopy import exception
from nova_blockcopy.migration import control
from nova_blockcopy.migration import peer


class Relay:
    """Passes messages on by nova-compute, which has Nova's RPC.

    :param directory: the directory of the journals
    :param to: the other host's name in Nova
    :param timeout: seconds to wait for one answer
    """

    def __init__(self, directory: str, to: str, timeout: float) -> None:
        self._to = to
        self._local = control.Local(directory, control.SERVICE, timeout)

    def call(self, message: peer.Message) -> peer.Message:
        """Send a message, and wait for the answer.

        :raises PeerError: no answer came
        :raises NoPeer: the other host does not run nova-blockcopy
        :raises NoEngine: nova-compute does not run on this host
        """
        answer = peer.ask(
            *(self._local, control.RELAY, message['guest']),
            to=self._to,
            message=message,
        )
        passed = answer.get('answer')
        if not isinstance(passed, dict):
            raise exception.PeerError(
                operation=message['operation'],
                reason='nova-compute on this host does not pass messages on; '
                'restart it, so that it runs this version of nova-blockcopy.',
            )
        return passed
