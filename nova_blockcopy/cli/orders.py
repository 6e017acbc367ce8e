# SPDX-License-Identifier: Apache-2.0
"""Gives an order to the engine inside the nova-compute of this host."""

from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.cli import site
from nova_blockcopy.migration import control
from nova_blockcopy.migration import peer
from nova_blockcopy.records import journal

#: Seconds that a command waits for an answer by default. nova-compute waits
#: 60 s for the other host (``rpc_response_timeout``).
DEADLINE = 90


def give(
    at: site.Site,
    record: journal.Record,
    order: str,
    deadline: float,
    **values: Any,
) -> peer.Message:
    """Give an order to a running migration, and return the answer.

    :param deadline: seconds to wait for the answer
    :raises Unsafe: this host is not the source
    :raises NoEngine: no migration of the guest runs
    :raises BlockCopyError: the engine's own error
    """
    if record.role is not model.Role.SOURCE:
        raise exception.Unsafe(
            instance=record.guest,
            reason=f'the source of its migration decides. Run this command on '
            f'{record.peer}.',
        )
    channel = control.Local(at.settings.journal_dir, record.guest, deadline)
    try:
        return peer.ask(channel, order, record.guest, **values)
    except exception.NoEngine as e:
        raise _no_engine(at, record) from e


def _no_engine(at: site.Site, record: journal.Record) -> exception.NoEngine:
    if at.serves():
        return exception.NoEngine(
            f'The migration of instance {record.guest} does not run: it '
            f'stopped in state {record.state}. nova-compute on this host '
            f'tries to settle it. "nova-blockcopy settle {record.guest}" says '
            f'what is missing.'
        )
    return exception.NoEngine(
        f'The migration of instance {record.guest} does not run, because '
        f'nova-compute does not run on this host. It stopped in state '
        f'{record.state}. Start nova-compute, which then settles it.'
    )
