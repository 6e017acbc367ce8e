# SPDX-License-Identifier: Apache-2.0
"""The entry point of the channel on the destination."""

import threading

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.destination import host as hosts
from nova_blockcopy.migration.destination import operations
from nova_blockcopy.migration.destination import trust
from nova_blockcopy.records import journal

#: The names of the operations: each public method of Operations.
OPERATIONS = frozenset(
    name for name in vars(operations.Operations) if not name.startswith('_')
)

#: The fields that every message has.
_ENVELOPE = ('operation', 'guest', 'migration')


class Dispatcher:
    """Passes the messages of sources to the operations of each migration.

    :param here: this host's libvirt
    :param trusted: the caller's decisions about sources
    """

    def __init__(
        self,
        here: hypervisor.Hypervisor,
        settings: conf.Settings,
        trusted: trust.Trust | None = None,
    ) -> None:
        self._host = hosts.Host(
            here=here,
            settings=settings,
            journal=journal.Journal(settings.journal_dir),
            trust=trusted or trust.Everything(),
        )
        self._migrations: dict[str, operations.Operations] = {}
        self._lock = threading.Lock()

    def handle(self, message: peer.Message) -> peer.Message:
        """Answer a message; an error is part of the answer."""
        operation = str(message.get('operation'))
        values = {k: v for k, v in message.items() if k not in _ENVELOPE}

        def work() -> peer.Message:
            if operation not in OPERATIONS:
                raise exception.PeerError(
                    operation=operation,
                    reason='the destination does not know this operation; '
                    'run the same version of nova-blockcopy on both hosts.',
                )
            guest = peer.guest_of(message)
            migration = peer.migration_of(message)
            answer: peer.Message = getattr(
                self._operations(guest, migration), operation
            )(**values)
            if operation in ('discard', 'finish'):
                self._forget(migration)
            return answer

        with peer.about(message):
            return peer.answered(operation, work)

    def _operations(self, guest: str, migration: str) -> operations.Operations:
        with self._lock:
            if migration not in self._migrations:
                self._migrations[migration] = operations.Operations(
                    self._host, guest, migration
                )
            return self._migrations[migration]

    def _forget(self, migration: str) -> None:
        with self._lock:
            self._migrations.pop(migration, None)
