# SPDX-License-Identifier: Apache-2.0
"""The hooks that Nova calls on the source of a live migration.

``_live_migration_operation`` runs the whole engine. Nova's own operation is
the engine's switchover.
"""

import functools
from collections.abc import Callable
from typing import Any

import libvirt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.nova import action_event
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import figures
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import live_migration
from nova_blockcopy.nova import memo
from nova_blockcopy.nova import ports
from nova_blockcopy.nova import reconcile
from nova_blockcopy.nova import request
from nova_blockcopy.nova import service
from nova_blockcopy.nova import switch
from nova_blockcopy.nova import tagging
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

# in the class below, the name of the module is that of a method
_LiveMigration = live_migration.LiveMigration


@tagging.tagged
class SourceHooks(compat.LibvirtDriver):  # type: ignore[misc]
    """The mixin for the live migration, its abort and its rollback."""

    _service: service.Service
    _reconciler: reconcile.Reconciler
    #: By instance UUID; Nova's own live migrations are not among them.
    _live_migrations: dict[str, _LiveMigration]

    def live_migration(
        self,
        context: Any,
        instance: Any,
        dest: str,
        post_method: Any,
        recover_method: Any,
        block_migration: bool = False,
        migrate_data: Any = None,
    ) -> None:
        """Run Nova's live migration, and close the journals after it.

        If Nova fails before the end of its part, the reconciler finishes it.
        """
        migrate = functools.partial(
            super().live_migration,
            context,
            instance,
            dest,
            post_method,
            recover_method,
            block_migration,
            migrate_data,
        )
        if migrate_data is None or not handshake.agreed(migrate_data):
            migrate()
            return
        current = _begin(context, instance, migrate_data, post_method)
        self._live_migrations[instance.uuid] = current
        try:
            migrate()
        except BaseException as e:
            current.leave_to(
                functools.partial(self._reconciler.go_on, [instance.uuid])
            )
            current.give_up(e)
            # Nova puts the instance into ERROR, and records no fault
            action_event.record_fault(context, instance, current.error or e)
            raise
        finally:
            del self._live_migrations[instance.uuid]
        self._close(current, context, instance, dest)

    def _close(
        self, current: _LiveMigration, context: Any, instance: Any, dest: str
    ) -> None:
        """Close the journals of a migration of which nothing is left."""
        try:
            record = self._service.journal.find(instance.uuid)
            if record is not None and current.owns(record):
                self._service.close(record, channel.RpcChannel(context, dest))
        except Exception as e:  # Nova would put the instance into ERROR
            LOG.warning(
                'The migration has ended, but its journals are not closed '
                'yet: %s',
                *(e,),
                instance=instance,
            )
            self._reconciler.go_on([instance.uuid])

    def _live_migration_copy_disk_paths(
        self, context: Any, instance: Any, guest: Any
    ) -> Any:
        if instance.uuid in self._live_migrations:
            return [], []  # the engine copies the disks, not libvirt
        return super()._live_migration_copy_disk_paths(
            context, instance, guest
        )

    def _live_migration_operation(
        self,
        context: Any,
        instance: Any,
        dest: str,
        block_migration: bool,
        migrate_data: Any,
        guest: Any,
        device_names: list[str],
    ) -> None:
        """Run the engine, which calls Nova's own operation in its turn."""
        operation = functools.partial(
            super()._live_migration_operation,
            context,
            instance,
            dest,
            block_migration,
            migrate_data,
        )
        current = self._live_migrations.get(instance.uuid)
        if current is not None:
            new_switch = functools.partial(
                switch.Switch, operation=operation, guest=guest
            )
            with current.operating():
                self._run_engine(
                    current, context, instance, dest, migrate_data, new_switch
                )
        elif handshake.agreed(migrate_data):
            # Nova's monitor has failed before this thread began. Nova's own
            # operation alone would start the guest on empty disks.
            raise compat.MigrationError(
                reason='the live migration has ended before its operation '
                'began. Migrate again.'
            )
        else:
            operation(guest, device_names)

    def _run_engine(
        self,
        current: _LiveMigration,
        context: Any,
        instance: Any,
        dest: str,
        migrate_data: Any,
        new_switch: Callable[..., switch.Switch],
    ) -> None:
        arrived = functools.partial(
            ports.bind, compat.compute_manager(self), context, instance, dest
        )
        try:
            migration = self._service.live_migration(
                self._request(current, instance, dest, migrate_data),
                channel.RpcChannel(context, dest),
                functools.partial(new_switch, arrived=arrived),
                current.note,
            )
        except exception.BlockCopyError as e:
            LOG.warning(
                'The engine refuses to begin: %s', e, instance=instance
            )
            current.refuse(e)
        else:
            current.run(migration)

    def _request(
        self,
        current: _LiveMigration,
        instance: Any,
        dest: str,
        migrate_data: Any,
    ) -> request.LiveMigrationRequest:
        terms = handshake.read(migrate_data)
        address = request.destination_address(migrate_data, dest)
        return request.LiveMigrationRequest(
            guest=instance.uuid,
            dest=dest,
            bases={} if terms is None else terms.bases,
            home=self._endpoint(request.own_address()),
            destination=self._endpoint(address),
            memo=memo.pack(current.memo),
        )

    def _live_migration_monitor(
        self, context: Any, instance: Any, guest: Any, *more: Any
    ) -> None:
        """Show Nova's monitor a job that lasts as long as the migration.

        The monitor begins with the switchover.
        """
        current = self._live_migrations.get(instance.uuid)
        if current is not None:
            current.wait_for_switchover()
            guest = live_migration.WatchedGuest(guest, current)
        super()._live_migration_monitor(context, instance, guest, *more)

    def live_migration_abort(self, instance: Any) -> None:
        """Abort the engine, and libvirt's job during the switchover.

        :raises MigrationError: the pivot has begun
        """
        current = self._live_migrations.get(instance.uuid)
        if current is None:
            super().live_migration_abort(instance)
            return
        if current.outcome is not live_migration.Outcome.OPEN:
            return
        if not current.abort():
            raise compat.MigrationError(
                reason='the guest is switching to its disks on the '
                'destination. It is too late to abort: wait for the end.'
            )
        if current.switching:
            try:
                super().live_migration_abort(instance)
            except (libvirt.libvirtError, compat.InstanceNotFound) as e:
                # the job has just ended
                LOG.debug('No job to abort: %s', e, instance=instance)

    def rollback_live_migration_at_source(
        self, context: Any, instance: Any, migrate_data: Any
    ) -> None:
        """Bind the ports to this host again.

        The engine's switchover has bound them to the destination. Nova's own
        rollback does not activate the bindings of this host.
        """
        if handshake.agreed(migrate_data):
            manager = compat.compute_manager(self)
            dest = migrate_data.migration.dest_compute
            ports.take_back(manager, context, instance, dest)
        super().rollback_live_migration_at_source(
            context, instance, migrate_data
        )

    def _end_live_migration(self, instance: Any) -> None:
        """Abort an instance's live migration, and wait for its end.

        :raises MigrationError: the pivot has begun, or the guest has arrived
        """
        current = self._live_migrations.get(instance.uuid)
        if current is None:
            return
        LOG.info(
            'The live migration is aborted, to delete the instance',
            instance=instance,
        )
        self.live_migration_abort(instance)
        current.wait(self._service.settings.switchover_timeout)
        if current.outcome is live_migration.Outcome.DONE:
            raise compat.MigrationError(
                reason='the live migration has just ended. Delete the '
                'instance again.'
            )

    def _endpoint(self, address: str) -> model.Endpoint:
        return model.Endpoint(
            uri=self._live_migration_uri(address),
            migrate_uri=self._migrate_uri(address) or '',
        )


def _begin(
    context: Any, instance: Any, migrate_data: Any, post_method: Any
) -> _LiveMigration:
    """A live migration, which Nova's API shows from now on."""
    report = action_event.ActionEvent(context, instance.uuid)
    report.begin()
    return _LiveMigration(
        figures.Figures(migrate_data.migration, context, instance.uuid),
        report,
        memo.make(context, instance, migrate_data, post_method),
    )
