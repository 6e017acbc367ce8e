# SPDX-License-Identifier: Apache-2.0
"""The orders of an operator that a running migration carries out."""

from typing import Protocol

from nova_blockcopy.migration import control
from nova_blockcopy.migration import peer

#: Undo the migration. The answer tells in ``accepted`` whether that is still
#: possible.
ABORT = 'abort'
#: Limit the bandwidth to ``mib_per_s`` for all disks together; 0 = no limit.
LIMIT = 'limit'


class Running(Protocol):
    """The migration that carries orders out."""

    def abort(self) -> bool: ...

    def set_bandwidth(self, mib_per_s: int) -> None: ...


def handler(migration: Running) -> control.Handle:
    """Return the function that answers an order."""

    def work(message: peer.Message) -> peer.Message:
        if message['operation'] == ABORT:
            return {'accepted': migration.abort()}
        if message['operation'] == LIMIT:
            migration.set_bandwidth(int(message['mib_per_s']))
            return {}
        raise ValueError('the engine does not know this order')

    return lambda message: peer.answered(
        peer.operation_of(message), lambda: work(message)
    )
