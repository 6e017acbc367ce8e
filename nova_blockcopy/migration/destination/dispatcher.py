# SPDX-License-Identifier: Apache-2.0
"""The entry point of the channel on the destination."""

import collections
import dataclasses
import threading
import time
from collections.abc import Iterable
from typing import Any

from nova_blockcopy import conf
from nova_blockcopy import events
from nova_blockcopy import exception
from nova_blockcopy import wire
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.destination import host as hosts
from nova_blockcopy.migration.destination import operations
from nova_blockcopy.migration.destination import surroundings
from nova_blockcopy.migration.destination import trust
from nova_blockcopy.records import journal

#: The names of the operations: each public method of Operations.
OPERATIONS = frozenset(
    name for name in vars(operations.Operations) if not name.startswith('_')
)

#: The fields that every message has.
_ENVELOPE = ('operation', 'guest', 'migration')
#: Seconds in which a source asks for the outcome of its last order.
_PATIENCE = 600
#: Migrations that this host knows at the same time.
_MOST = 256


@dataclasses.dataclass(slots=True)
class _Arrival:
    """A guest that may come, and when its source asked for something last."""

    operations: operations.Operations
    asked_at: float = 0.0


class Dispatcher:
    """Passes the messages of sources to the operations of each migration.

    :param here: this host's libvirt
    :param trusted: the caller's decisions about sources
    :param known: the caller's knowledge of this host
    :param observers: called with each event
    """

    def __init__(
        self,
        here: hypervisor.Hypervisor,
        settings: conf.Settings,
        trusted: trust.Trust | None = None,
        known: surroundings.Surroundings | None = None,
        observers: Iterable[events.Observer] = (),
    ) -> None:
        self._host = hosts.Host(
            here=here,
            settings=settings,
            journal=journal.Journal(settings.journal_dir),
            trust=trusted or trust.Everything(),
            surroundings=known or surroundings.Unknown(),
            observers=tuple(observers),
        )
        #: By guest and migration; the one that was asked for last is last.
        self._arrivals: collections.OrderedDict[tuple[str, str], _Arrival] = (
            collections.OrderedDict()
        )
        self._lock = threading.Lock()

    def handle(self, message: Any) -> peer.Message:
        """Answer a message; an error is part of the answer.

        :param message: whatever came over the channel
        """
        operation = peer.operation_of(message)

        def work() -> peer.Message:
            if operation not in OPERATIONS:
                raise exception.PeerError(
                    operation=operation,
                    reason='the destination does not know this operation; '
                    'run the same version of nova-blockcopy on both hosts.',
                )
            guest = peer.guest_of(message)
            migration = peer.migration_of(message)
            values = wire.arguments(
                getattr(operations.Operations, operation),
                {k: v for k, v in message.items() if k not in _ENVELOPE},
            )
            found = self._operations(guest, migration)
            answer: peer.Message = getattr(found, operation)(**values)
            if operation in ('discard', 'finish'):
                self._forget(guest, migration)
            return answer

        with peer.about(message):
            return peer.answered(operation, work)

    def _operations(self, guest: str, migration: str) -> operations.Operations:
        """Return the operations of a migration, which may be a new one.

        :raises PeerError: too many other guests are on their way
        """
        key = guest, migration
        with self._lock:
            self._forget_old()
            if key not in self._arrivals and len(self._arrivals) >= _MOST:
                raise exception.PeerError(
                    operation='receive the guest',
                    reason=f'{_MOST} other guests are on their way to it.',
                )
            if key not in self._arrivals:
                self._arrivals[key] = _Arrival(
                    operations.Operations(self._host, guest, migration)
                )
            self._arrivals.move_to_end(key)
            self._arrivals[key].asked_at = time.monotonic()
            return self._arrivals[key].operations

    def _forget(self, guest: str, migration: str) -> None:
        with self._lock:
            self._arrivals.pop((guest, migration), None)

    def _forget_old(self) -> None:
        """Forget the arrivals that never came.

        The journal remembers the others, and so does a task that runs.
        """
        for key, arrival in list(self._arrivals.items()):
            is_old = time.monotonic() - arrival.asked_at > _PATIENCE
            if not is_old and len(self._arrivals) < _MOST:
                return
            if operations.is_over(arrival.operations):
                del self._arrivals[key]
