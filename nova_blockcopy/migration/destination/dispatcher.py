# SPDX-License-Identifier: Apache-2.0
"""The entry point of the channel on the destination."""

import threading

from oslo_log import log as logging

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.destination import host as hosts
from nova_blockcopy.migration.destination import operations
from nova_blockcopy.records import journal

LOG = logging.getLogger(__name__)

#: The names of the operations: each public method of Operations.
OPERATIONS = frozenset(
    name for name in vars(operations.Operations) if not name.startswith('_')
)


class Dispatcher:
    """Passes the messages of sources to the operations of each migration.

    :param here: this host's libvirt
    """

    def __init__(
        self, here: hypervisor.Hypervisor, settings: conf.Settings
    ) -> None:
        self._host = hosts.Host(
            here=here,
            settings=settings,
            journal=journal.Journal(settings.journal_dir),
        )
        self._migrations: dict[str, operations.Operations] = {}
        self._lock = threading.Lock()

    def handle(self, message: peer.Message) -> peer.Message:
        """Answer a message; an error is part of the answer."""
        values = dict(message)
        operation = str(values.pop('operation', None))
        try:
            if operation not in OPERATIONS:
                raise exception.PeerError(
                    operation=operation,
                    reason='the destination does not know this operation; '
                    'run the same version of nova-blockcopy on both hosts.',
                )
            guest, migration = values.pop('guest'), values.pop('migration')
            answer: peer.Message = getattr(
                self._operations(guest, migration), operation
            )(**values)
            if operation in ('discard', 'finish'):
                self._forget(migration)
        except exception.BlockCopyError as e:
            return {'error': peer.failure(e)}
        except (KeyError, TypeError, ValueError) as e:
            LOG.exception('The message %s is not understood', operation)
            return {'error': peer.failure(_not_understood(operation, e))}
        return answer

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


def _not_understood(operation: str, error: Exception) -> exception.PeerError:
    return exception.PeerError(
        operation=operation,
        reason=f'the destination does not understand the message '
        f'({error!r}); run the same version of nova-blockcopy on both hosts.',
    )
