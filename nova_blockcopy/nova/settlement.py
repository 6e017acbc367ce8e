# SPDX-License-Identifier: Apache-2.0
"""The end of one half-done migration, by the engine and then by Nova.

The engine finds out on which host the guest is. Then Nova does its own part,
as at the end of any live migration: Nova rolls back, or goes on to the
destination (``novas_part``).
"""

from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.nova import action_event
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import database
from nova_blockcopy.nova import memo
from nova_blockcopy.nova import messages
from nova_blockcopy.nova import novas_part
from nova_blockcopy.nova import ownership
from nova_blockcopy.nova import service
from nova_blockcopy.records import journal
from nova_blockcopy.runtime import log as logging

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
        self._novas = novas_part.NovasPart(manager)

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
            ownership.check(database.instance(context, record.guest), record)
        except compat.InstanceNotFound:
            self._settle_deleted(context, record, to)
            return
        settled = self._settle_disks(record, to)
        arrived = settled.authority is model.Role.DESTINATION
        _report(record, arrived=arrived)
        if arrived or self._has_volumes(context, record.guest):
            # before Nova's part, which would stay half done without an answer
            messages.RemoteDriver(to).is_guarded(record.guest)
        if arrived:
            self._novas.arrive(context, settled)
        else:
            self._novas.go_back(context, settled)
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
                reason=f'somebody has removed the journal of {record.guest}. '
                f'Look for the guest on both hosts.'
            )
        return settled

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
            'The instance was deleted during its migration. Its guest is on '
            'the %s, where Nova removes it',
            settled.authority,
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
                f'not come here. Look for it on {record.peer}.'
            )
        self._novas.remove_bases(context, instance, record)

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
                'The instance has been migrated since an attempt to migrate '
                'it to %s, which made bases there. Remove these bases by hand',
                dest,
            )
            return
        _check_idle(instance)
        LOG.warning(
            'The migration to %s had not begun, and is rolled back', dest
        )
        report = action_event.after_restart(guest)
        report.begin()
        report.end(
            exception.BlockCopyError(
                f'Rolled back: nova-compute on {compat.CONF.host} ended '
                f'before the disks began to move. Migrate again.'
            )
        )
        self._novas.roll_back(context, instance, migration)


def _report(record: journal.Record, *, arrived: bool) -> None:
    """Have Nova's API show the end of a migration that had none.

    :param record: from before the settlement
    """
    if record.state is states.State.SETTLED:
        return
    report = action_event.after_restart(
        record.guest, memo.request_id(record.memo)
    )
    report.end(None if arrived else exception.BlockCopyError(_why(record)))


def _why(record: journal.Record) -> str:
    """Why a migration is undone that had stopped."""
    stuck = [
        entry.note
        for entry in record.history
        if entry.state is states.State.STUCK and entry.note
    ]
    if stuck:
        return f'Rolled back: {stuck[-1]}'
    return (
        f'Rolled back: nova-compute on {compat.CONF.host} ended in state '
        f'{record.state} of the migration. The guest is on this host, and '
        f'nothing was lost. Migrate again.'
    )


def _check_idle(instance: Any) -> None:
    """Pass if Nova does nothing with an instance.

    :raises MigrationError: Nova does something with the instance
    """
    state = (instance.vm_state, instance.task_state)
    if instance.vm_state not in _MOVABLE or (
        instance.task_state not in (None, compat.MIGRATING)
    ):
        raise compat.MigrationError(
            reason=f'the instance is {" and ".join(filter(None, state))}. '
            f'Wait until it is active or paused.'
        )
