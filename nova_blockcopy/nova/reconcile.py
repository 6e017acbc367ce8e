# SPDX-License-Identifier: Apache-2.0
"""What a crash of nova-compute left half done, settled before Nova acts.

Runs in ``init_host``: Nova has not looked at its instances then, so none of
its ways to start one or to clean up after one can come first. What cannot be
settled then, mostly because the other host does not answer, is tried again
until it can.
"""

import datetime
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
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

#: Seconds from one attempt to the next.
_PAUSE = 10
#: Of the task states, those in which nothing else is done with an instance
#: that its journal does not forbid.
_IDLE = (None, 'migrating', 'deleting')
#: What is told without a traceback.
_EXPECTED = (exception.BlockCopyError, compat.NovaException)


class Reconciler:
    """Settles the migrations that this host was the source of.

    :param manager: Nova's compute manager, which knows how to go on
    """

    def __init__(self, engine: service.Service, manager: Any) -> None:
        self._engine = engine
        self._manager = manager
        self._door = threading.Lock()
        self._left: set[str] = set()
        #: Nova's migrations by guest that may have got as far as bases.
        self._unbegun: dict[str, Any] = {}
        self._works = False

    def run(self) -> list[str]:
        """Settle what can be settled; the journal of the rest stays.

        :returns: the guests, by UUID, that are to be tried again
        """
        self._engine.journal.tidy()
        guests = self._engine.journal.guests()
        self._unbegun = {
            each.instance_uuid: each
            for each in database.unbegun_migrations(database.admin_context())
            if each.instance_uuid not in guests
        }
        unsettled = [guest for guest in guests if not self._try(guest)]
        self.go_on(guest for guest in self._unbegun if not self._try(guest))
        return unsettled

    def go_on(self, guests: Iterable[str]) -> None:
        """Try guests again in the background, until they are settled.

        No migration of theirs may be under way, and as long as there is a
        journal none begins.
        """
        with self._door:
            self._left.update(guests)
            if not self._left or self._works:
                return
            self._works = True
        threading.Thread(
            target=self._work, name='nova-blockcopy-settle', daemon=True
        ).start()

    def _work(self) -> None:
        while guests := self._begin():
            time.sleep(_PAUSE)
            for guest in guests:
                if self._try(guest):
                    with self._door:
                        self._left.discard(guest)

    def _begin(self) -> list[str]:
        with self._door:
            self._works = bool(self._left)
            return sorted(self._left)

    def _try(self, guest: str) -> bool:
        """Tell whether nothing is left to be tried again."""
        try:
            record = self._engine.journal.find(guest)
        except exception.JournalError as e:  # which no time will heal
            LOG.error('The migration of instance %s: %s', guest, e)
            return True
        if record is None:
            return self._try_unbegun(guest)
        if record.role is not model.Role.SOURCE:
            return True
        return self._attempt(guest, record.peer, lambda: self._settle(record))

    def _try_unbegun(self, guest: str) -> bool:
        migration = self._unbegun.get(guest)
        if migration is None:
            return True
        return self._attempt(
            *(guest, migration.dest_compute),
            lambda: self._give_up(migration),
        )

    def _attempt(
        self, guest: str, other: str, action: Callable[[], None]
    ) -> bool:
        try:
            action()
        except Exception as e:  # the host must come up for its other guests
            LOG.warning(
                'The migration of instance %s to %s could not be settled; '
                'what it has left stays, nothing of it will be started or '
                'removed, and it is tried again: %s',
                *(guest, other, e),
                exc_info=not isinstance(e, _EXPECTED),
            )
            return False
        return True

    def _settle(self, record: journal.Record) -> None:
        """Settle one; its journal guards it until Nova has done its part."""
        context = database.admin_context()
        try:
            self._check_ours(context, record)
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
            self._check_known(instance, record, side)
        else:
            go_on = {
                model.Role.SOURCE: self._manager._rollback_live_migration,
                model.Role.DESTINATION: self._manager._post_live_migration,
            }
            with self._engine.guard.removable(record.guest):
                self._end(context, instance, migration, go_on[side])
        self._engine.journal.close(record.guest)

    def _settle_deleted(self, context: Any, record: journal.Record) -> None:
        """Settle one whose instance was deleted while its host was down.

        Nova finds a guest without an instance by itself, and ends it with its
        disks (``running_deleted_instance_action``). It looks for no others.
        """
        to = channel.RpcChannel(context, record.peer, questions=1)
        side = self._engine.settle(record, to)
        if side is model.Role.SOURCE:
            messages.RemoteDriver(to).remove_deleted(record.guest)
        else:
            self._engine.remove_deleted(record.guest)
        self._engine.journal.close(record.guest)
        LOG.warning(
            'Instance %s was deleted; its guest is on the %s of its '
            'migration, for Nova to end',
            *(record.guest, side),
        )

    def _give_up(self, migration: Any) -> None:
        """Take back one that has no more than bases on the destination.

        Nova forgets it at its start, and leaves the bases there.
        """
        context = database.admin_context()
        guest, peer_name = migration.instance_uuid, migration.dest_compute
        there = messages.RemoteDriver(channel.RpcChannel(context, peer_name))
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
                'Instance %s: its bases on %s, for a migration that had not '
                'begun, have to be removed by hand: it has been moved since',
                *(guest, peer_name),
            )
            return
        self._check_idle(instance)
        LOG.warning(
            'Instance %s: its migration to %s had not begun', guest, peer_name
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
        """Have Nova do its part, as at the end of any migration."""
        database.reopen(instance, migration)
        data = database.migrate_data(migration)
        handshake.write(data, handshake.Terms(agreed=True))
        # its resource tracker is empty this early, and is used there
        self._manager.update_available_resource(context, startup=True)
        go_on(
            context,
            instance,
            migration.dest_compute,
            migrate_data=data,
            source_bdms=database.block_devices(context, instance.uuid),
        )

    def _check_idle(self, instance: Any) -> None:
        """Pass if Nova does nothing with an instance.

        :raises MigrationError: it does
        """
        state = (instance.vm_state, instance.task_state)
        if state not in (('active', None), ('active', 'migrating')):
            raise compat.MigrationError(
                reason=f'the instance is {" and ".join(filter(None, state))}.'
            )

    def _check_ours(self, context: Any, record: journal.Record) -> None:
        """Pass if Nova has the instance on a host of this migration.

        :raises MigrationError: it was evacuated or is about to be, and its
            guest must not run twice
        """
        hosts = [compat.CONF.host]
        if record.authority is model.Role.DESTINATION:
            hosts.append(record.peer)
        instance = database.instance(context, record.guest)
        if instance.host not in hosts:
            raise compat.MigrationError(
                reason=f'it stopped in state {record.state}, and Nova has '
                f'the instance on {instance.host} now; see which of its '
                f'guests and disks are wanted.'
            )
        if instance.task_state not in _IDLE:
            raise compat.MigrationError(
                reason=f'the instance is {instance.task_state}.'
            )

    def _check_known(
        self, instance: Any, record: journal.Record, side: model.Role
    ) -> None:
        """Pass if Nova has an instance where its guest is.

        :raises MigrationError: it has not, so the guards must stay
        """
        there = side is model.Role.DESTINATION
        if there is not (instance.host == record.peer):
            raise compat.MigrationError(
                reason=f'its guest is at home on the {side} of its migration '
                f'to {record.peer}, but Nova has it on {instance.host}.'
            )
