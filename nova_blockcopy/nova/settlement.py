# SPDX-License-Identifier: Apache-2.0
"""The end of one half-done migration, by the engine and then by Nova.

The engine finds out on which host the guest is. Then Nova does its own part,
as at the end of any live migration: Nova rolls back, or goes on to the
destination.
"""

import datetime
import functools
from collections.abc import Callable
from typing import Any

from oslo_log import log as logging

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import database
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import memo
from nova_blockcopy.nova import messages
from nova_blockcopy.nova import ports
from nova_blockcopy.nova import service
from nova_blockcopy.records import journal

LOG = logging.getLogger(__name__)

#: The states of the instances that Nova migrates live.
_MOVABLE = ('active', 'paused')


class Settler:
    """Settles one migration at a time. Runs on the source.

    :param engine: this host's service
    :param manager: Nova's compute manager
    """

    def __init__(self, engine: service.Service, manager: Any) -> None:
        self._engine = engine
        self._manager = manager

    def settle(self, record: journal.Record) -> None:
        """Settle a migration that has a journal here, and close that.

        The journal guards the instance until Nova has done its part.

        :raises BlockCopyError: the engine cannot settle it now
        :raises NovaException: Nova cannot, or has the instance elsewhere
        """
        context = database.admin_context()
        # a question that waits for an answer keeps the others waiting
        to = channel.RpcChannel(context, record.peer, questions=1)
        try:
            _check_ours(database.instance(context, record.guest), record)
        except compat.InstanceNotFound:
            self._settle_deleted(context, record, to)
            return
        settled = self._settle_disks(record, to)
        arrived = settled.authority is model.Role.DESTINATION
        if arrived or self._has_volumes(context, record.guest):
            # before Nova's part, which would stay half done without an answer
            messages.RemoteDriver(to).is_guarded(record.guest)
        if arrived:
            self._arrive(context, settled)
        else:
            self._return(context, settled)
        self._engine.close(settled, to)

    def _has_volumes(self, context: Any, guest: str) -> bool:
        """Whether Nova has to disconnect volumes from the destination."""
        found = database.block_devices(context, guest)
        return any(each.is_volume for each in found)

    def _settle_disks(
        self, record: journal.Record, to: channel.RpcChannel
    ) -> journal.Record:
        """Have the engine do its part.

        :returns: the record, in state SETTLED
        """
        self._engine.settle(record, to)
        settled = self._engine.journal.find(record.guest)
        if settled is None:
            raise compat.MigrationError(
                reason=f'somebody has removed the journal of {record.guest}.'
            )
        return settled

    def _arrive(self, context: Any, record: journal.Record) -> None:
        """Have Nova do its part for a guest on the destination.

        Each statement of Nova's part can be done twice. If the destination
        was killed in its own part, it may have left the bindings of the ports
        to this host: Nova removes them once, after it has noted the new host.
        """
        migration = self._migration(context, record)
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

    def _return(self, context: Any, record: journal.Record) -> None:
        """Have Nova do its part for a guest on this host."""
        migration = self._migration(context, record)
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

    def _migration(self, context: Any, record: journal.Record) -> Any:
        """Nova's record of the migration; None if Nova has none."""
        here, there = compat.CONF.host, record.peer
        if record.role is model.Role.DESTINATION:
            here, there = there, here
        begun = datetime.datetime.fromisoformat(record.history[0].at)
        return database.live_migration(
            context, record.guest, here, there, begun
        )

    def _settle_deleted(
        self, context: Any, record: journal.Record, to: channel.RpcChannel
    ) -> None:
        """Settle the migration of a deleted instance.

        A user has deleted it while this host was down. Nova finds the guest
        of a deleted instance by itself, and removes the guest with its disks
        (``running_deleted_instance_action``). On the host without the guest
        Nova looks for nothing.
        """
        settled = self._settle_disks(record, to)
        if settled.authority is model.Role.SOURCE:
            messages.RemoteDriver(to).remove_deleted(record.guest)
        else:
            self._engine.remove_deleted(record.guest)
        self._engine.close(settled, to)
        LOG.warning(
            'Instance %s was deleted during its migration. Its guest is on '
            'the %s, where Nova removes it',
            *(record.guest, settled.authority),
        )

    def roll_back_here(self, record: journal.Record) -> None:
        """Remove the bases of a guest that has not come. On the destination.

        Nova's order to do so may be lost, because Nova does not wait for an
        answer. Nova can carry it out twice.

        :param record: settled, with the authority of the source
        :raises NovaException: Nova cannot, or has the instance here
        """
        context = database.admin_context()
        try:
            instance = database.instance(context, record.guest)
        except compat.InstanceNotFound:
            self._engine.remove_deleted(record.guest)
            return
        if instance.host == compat.CONF.host:
            raise compat.MigrationError(
                reason='Nova has the instance on this host, but its guest has '
                'not come here.'
            )
        migration = self._migration(context, record)
        if migration is None:
            raise compat.MigrationError(
                reason='Nova has no record of the migration.'
            )
        # Nova's part uses the resource tracker, which is still empty
        self._manager.update_available_resource(context, startup=True)
        self._manager.rollback_live_migration_at_destination(
            context,
            instance,
            destroy_disks=True,
            migrate_data=_agreed(database.migrate_data(migration)),
        )

    def give_up(self, migration: Any) -> None:
        """Roll back a migration for which only bases have been made.

        Nova forgets such a migration at its start, and leaves the bases on
        the destination.

        :param migration: Nova's record of it
        :raises BlockCopyError: the destination does not answer
        :raises NovaException: Nova does something else with the instance
        """
        context = database.admin_context()
        guest, dest = migration.instance_uuid, migration.dest_compute
        there = messages.RemoteDriver(channel.RpcChannel(context, dest))
        try:
            if not there.is_expected(guest, source=compat.CONF.host):
                return
        except exception.NoPeer:
            return
        try:
            instance = database.instance(context, guest)
        except compat.InstanceNotFound:
            there.remove_deleted(guest)
            return
        latest = database.latest_migration(context, guest)
        if instance.host != compat.CONF.host or latest.id != migration.id:
            LOG.error(
                'Instance %s has been migrated since an attempt to migrate it '
                'to %s, which made bases there. Remove these bases by hand',
                *(guest, dest),
            )
            return
        _check_idle(instance)
        LOG.warning(
            'Instance %s: its migration to %s had not begun, and is rolled '
            'back',
            *(guest, dest),
        )
        back = self._manager._rollback_live_migration
        self._end(context, instance, migration, None, back)

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


def _agreed(migrate_data: Any) -> Any:
    """Nova's data of a migration that both hosts take part in."""
    if not handshake.agreed(migrate_data):
        handshake.write(migrate_data, handshake.Terms(agreed=True))
    return migrate_data


def _check_idle(instance: Any) -> None:
    """Pass if Nova does nothing with an instance.

    :raises MigrationError: Nova does something with the instance
    """
    state = (instance.vm_state, instance.task_state)
    if instance.vm_state not in _MOVABLE or (
        instance.task_state not in (None, compat.MIGRATING)
    ):
        raise compat.MigrationError(
            reason=f'the instance is {" and ".join(filter(None, state))}.'
        )


def _check_ours(instance: Any, record: journal.Record) -> None:
    """Pass if Nova has the instance on a host of this migration.

    :raises MigrationError: Nova evacuates it or has evacuated it, and its
        guest must not run twice
    """
    hosts = [compat.CONF.host]
    if record.authority is model.Role.DESTINATION:
        hosts.append(record.peer)
    if instance.host not in hosts:
        raise compat.MigrationError(
            reason=f'the migration stopped in state {record.state}, and Nova '
            f'has the instance on {instance.host} now; find out which guest '
            f'and which disks of it are wanted.'
        )
    if instance.task_state not in database.IDLE:
        raise compat.MigrationError(
            reason=f'the instance is {instance.task_state}.'
        )


def _check_known(instance: Any, record: journal.Record) -> None:
    """Pass if Nova has an instance on the host where its guest is.

    :raises MigrationError: Nova has the instance elsewhere, so the guards
        must stay
    """
    there = record.authority is model.Role.DESTINATION
    if there is not (instance.host == record.peer):
        raise compat.MigrationError(
            reason=f'its guest is on the {record.authority} of its migration '
            f'to {record.peer}, but Nova has the instance on {instance.host}.'
        )
