# SPDX-License-Identifier: Apache-2.0
"""Questions that a command of this host has for another host."""

from nova_blockcopy import exception
from nova_blockcopy.migration import control
from nova_blockcopy.migration import peer
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import database

#: The operations that change nothing on the other host.
_QUESTIONS = ('appraise', 'status')


def passed_on(order: peer.Message) -> peer.Message:
    """Send the message of an order to another host.

    :param order: with the host ``to`` and the ``message``
    :returns: the answer
    :raises PeerError: no answer came, or the message may change something
    """
    message = order['message']
    operation = peer.operation_of(message)
    if operation not in _QUESTIONS:
        raise exception.PeerError(
            operation=operation,
            reason=f'nova-compute passes only {" and ".join(_QUESTIONS)} on, '
            f'which change nothing.',
        )
    # the command asks again by itself
    to = channel.RpcChannel(
        database.admin_context(), str(order['to']), questions=1
    )
    return to.call(message)


def answer(order: peer.Message) -> peer.Message:
    """Answer the order of a command."""
    return peer.answered(control.RELAY, lambda: {'answer': passed_on(order)})
