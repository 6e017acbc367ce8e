# SPDX-License-Identifier: Apache-2.0
"""The end of one half-done migration, by the engine and then by Nova.

The engine finds out on which host the guest is. Then Nova does its own part,
as at the end of any live migration: Nova rolls back, or goes on to the
destination.
"""

import datetime
from collections.abc import Callable
from typing import Any

from oslo_log import log as logging

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import database
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import messages
from nova_blockcopy.nova import service
from nova_blockcopy.records import journal

LOG = logging.getLogger(__name__)

#: The task states in which Nova does nothing with an instance that the
#: journal does not forbid.
_IDLE = (None, compat.MIGRATING, compat.DELETING)


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
        try:
            _check_ours(database.instance(context, record.guest), record)
        except compat.InstanceNotFound:
            self._settle_deleted(context, record)
            return
        # a question that waits for an answer keeps the others waiting
        side = self._engine.settle(
            record, channel.RpcChannel(context, record.peer, questions=1)
        )
        instance = database.instance(context, record.guest)
        begun = datetime.datetime.fromisoformat(record.history[0].at)
        migration = database.unfinished_migration(
            context, record.guest, record.peer, begun
        )
        if migration is None:
            _check_known(instance, record, side)
        else:
            go_on = {
                model.Role.SOURCE: self._manager._rollback_live_migration,
                model.Role.DESTINATION: self._manager._post_live_migration,
            }
            with self._engine.guard.removable(record.guest):
                self._end(context, instance, migration, go_on[side])
        self._engine.journal.close(record.guest)

    def _settle_deleted(self, context: Any, record: journal.Record) -> None:
        """Settle the migration of a deleted instance.

        A user has deleted it while this host was down. Nova finds the guest
        of a deleted instance by itself, and removes the guest with its disks
        (``running_deleted_instance_action``). On the host without the guest
        Nova looks for nothing.
        """
        to = channel.RpcChannel(context, record.peer, questions=1)
        side = self._engine.settle(record, to)
        if side is model.Role.SOURCE:
            messages.RemoteDriver(to).remove_deleted(record.guest)
        else:
            self._engine.remove_deleted(record.guest)
        self._engine.journal.close(record.guest)
        LOG.warning(
            'Instance %s was deleted during its migration. Its guest is on '
            'the %s, where Nova removes it',
            *(record.guest, side),
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
        self._end(context, instance, migration, back)

    def _end(
        self,
        context: Any,
        instance: Any,
        migration: Any,
        go_on: Callable[..., None],
    ) -> None:
        """Have Nova do its part, as at the end of any live migration."""
        database.reopen(instance, migration)
        data = database.migrate_data(migration)
        handshake.write(data, handshake.Terms(agreed=True))
        # Nova's part uses the resource tracker, which is still empty
        self._manager.update_available_resource(context, startup=True)
        go_on(
            context,
            instance,
            migration.dest_compute,
            migrate_data=data,
            source_bdms=database.block_devices(context, instance.uuid),
        )


def _check_idle(instance: Any) -> None:
    """Pass if Nova does nothing with an instance.

    :raises MigrationError: Nova does something with the instance
    """
    state = (instance.vm_state, instance.task_state)
    if state not in (('active', None), ('active', compat.MIGRATING)):
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
    if instance.task_state not in _IDLE:
        raise compat.MigrationError(
            reason=f'the instance is {instance.task_state}.'
        )


def _check_known(
    instance: Any, record: journal.Record, side: model.Role
) -> None:
    """Pass if Nova has an instance on the host where its guest is.

    :raises MigrationError: Nova has the instance elsewhere, so the guards
        must stay
    """
    there = side is model.Role.DESTINATION
    if there is not (instance.host == record.peer):
        raise compat.MigrationError(
            reason=f'its guest is on the {side} of its migration to '
            f'{record.peer}, but Nova has the instance on {instance.host}.'
        )
