# SPDX-License-Identifier: Apache-2.0
"""Nova's part of a migration, done again after a crash.

Nova's own methods do it from their first statement. Each of their statements
can be done twice, with the data of the first attempt.
"""

import datetime
import functools
from collections.abc import Callable
from typing import Any

from nova_blockcopy import model
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import database
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import memo
from nova_blockcopy.nova import ports
from nova_blockcopy.records import journal


class NovasPart:
    """The part of Nova on one host.

    :param manager: Nova's compute manager
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def arrive(self, context: Any, record: journal.Record) -> None:
        """Have Nova do its part for a guest on the destination.

        If the destination was killed in its own part, it may have left the
        bindings of the ports to this host: Nova removes them once, after it
        has noted the new host.
        """
        migration = _migration(context, record)
        instance = database.instance(context, record.guest)
        if migration is not None and database.is_unfinished(migration):
            self._end(
                *(context, instance, migration, record),
                self._manager._post_live_migration_update_host,
            )
            instance = database.instance(context, record.guest)
            ports.release(self._manager, context, instance)
        elif migration is not None:
            # Nova does this after it has called the migration completed
            self._manager._delete_allocation_after_move(
                context, instance, migration
            )
        _check_known(instance, record)

    def go_back(self, context: Any, record: journal.Record) -> None:
        """Have Nova do its part for a guest on this host."""
        migration = _migration(context, record)
        instance = database.instance(context, record.guest)
        if migration is not None and database.is_unfinished(migration):
            status = 'cancelled' if record.aborted else 'failed'
            self._end(
                *(context, instance, migration, record),
                functools.partial(
                    self._manager._rollback_live_migration,
                    migration_status=status,
                ),
            )
            return
        _check_known(instance, record)

    def roll_back(self, context: Any, instance: Any, migration: Any) -> None:
        """Have Nova roll back a migration that the engine has not begun."""
        back = self._manager._rollback_live_migration
        self._end(context, instance, migration, None, back)

    def remove_bases(
        self, context: Any, instance: Any, record: journal.Record
    ) -> None:
        """Have Nova remove the bases. Runs on the destination.

        :raises MigrationError: Nova has no record of the migration
        """
        migration = _migration(context, record)
        if migration is None:
            raise compat.MigrationError(
                reason='Nova has no record of the migration. See "Nova\'s own '
                'record" in the administration guide.'
            )
        # Nova's part uses the resource tracker, which is still empty
        self._manager.update_available_resource(context, startup=True)
        self._manager.rollback_live_migration_at_destination(
            context,
            instance,
            destroy_disks=True,
            migrate_data=_agreed(database.migrate_data(migration)),
        )

    def _end(
        self,
        context: Any,
        instance: Any,
        migration: Any,
        record: journal.Record | None,
        go_on: Callable[..., None],
    ) -> None:
        """Have Nova do its part, as at the end of any live migration.

        :param record: the journal's; None if the engine has not begun
        """
        facts = memo.unpack(context, record.memo if record else {})
        database.reopen(instance, migration, facts.vm_state)
        data = facts.migrate_data or database.migrate_data(migration)
        data.migration = migration
        # Nova's part uses the resource tracker, which is still empty
        self._manager.update_available_resource(context, startup=True)
        go_on(
            context,
            instance,
            migration.dest_compute,
            migrate_data=_agreed(data),
            source_bdms=facts.source_bdms
            or database.block_devices(context, instance.uuid),
        )


def _migration(context: Any, record: journal.Record) -> Any:
    """Nova's record of the migration; None if Nova has none."""
    here, there = compat.CONF.host, record.peer
    if record.role is model.Role.DESTINATION:
        here, there = there, here
    begun = datetime.datetime.fromisoformat(record.history[0].at)
    return database.live_migration(context, record.guest, here, there, begun)


def _agreed(migrate_data: Any) -> Any:
    """Nova's data of a migration that both hosts take part in."""
    if not handshake.agreed(migrate_data):
        handshake.write(migrate_data, handshake.Terms(agreed=True))
    return migrate_data


def _check_known(instance: Any, record: journal.Record) -> None:
    """Pass if Nova has an instance on the host where its guest is.

    :raises MigrationError: Nova has the instance elsewhere, so the guards
        must stay
    """
    there = record.authority is model.Role.DESTINATION
    if there is not (instance.host == record.peer):
        raise compat.MigrationError(
            reason=f'its guest is on the {record.authority} of its migration '
            f'to {record.peer}, but Nova has the instance on {instance.host}. '
            f'Look for the guest on both hosts.'
        )
