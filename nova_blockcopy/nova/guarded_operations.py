# SPDX-License-Identifier: Apache-2.0
"""The operations of Nova's driver that ask the journal of this host first.

Each one calls Nova's own operation if the journal does not forbid it. The
rules are in ``guards``.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from nova_blockcopy.nova import compat
from nova_blockcopy.nova import database
from nova_blockcopy.nova import evacuation
from nova_blockcopy.nova import service
from nova_blockcopy.nova import tagging
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)


@tagging.tagged
class GuardedOperations(compat.LibvirtDriver):  # type: ignore[misc]
    """The mixin for the removal, start and use of an instance."""

    _service: service.Service

    # -- removal ---------------------------------------------------------

    def destroy(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Abort a live migration of the instance, then destroy it.

        Nova's API lets a user delete an instance during a live migration.
        The abort comes first, so that Nova deletes the instance on the host
        that its database names, and nothing stays on the other host.
        """
        try:
            self._end_live_migration(instance)
            self._service.guard.check_destruction(instance)
        except compat.MigrationError as e:
            if instance.host != compat.CONF.host:
                # evacuated: while this fails, nova-compute does not start
                LOG.error(
                    'Nova has the instance on %s. Its guest on this host is '
                    'powered off, and its disks here stay. %s',
                    *(instance.host, e),
                    instance=instance,
                )
                self.power_off(instance)
                return
            # after this error a user can delete the instance again
            raise compat.InstancePowerOffFailure(reason=e) from e
        super().destroy(context, instance, *args, **kwargs)

    def cleanup(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._service.guard.check_removal(instance)
        super().cleanup(context, instance, *args, **kwargs)

    def _remove_deleted(self, uuid: str) -> None:
        """Remove the disks and interfaces of an instance that was deleted.

        Another host can order this. So neither the guest may be here, nor a
        journal that needs the disks.

        :raises MigrationError: the instance is not deleted, its guest is
            here, or the journal forbids it
        """
        context = database.admin_context(read_deleted=True)
        instance = database.instance(context, uuid)
        if not instance.deleted:
            raise compat.MigrationError(
                reason=f'instance {uuid} is not deleted. Find out which host '
                f'asks to remove it.'
            )
        if self.instance_exists(instance):
            raise compat.MigrationError(
                reason=f'the guest of instance {uuid} is on this host. Wait '
                f'until Nova removes it here '
                f'(running_deleted_instance_action).'
            )
        self._service.guard.check_removal(instance)
        super().cleanup(context, instance, instance.get_network_info())

    def _cleanup_lvm(self, instance: Any, block_device_info: Any) -> None:
        self._service.guard.check_removal(instance)
        if self._service.kept.volumes(instance.uuid):
            return
        super()._cleanup_lvm(instance, block_device_info)

    def delete_instance_files(self, instance: Any) -> Any:
        self._service.guard.check_removal(instance)
        return super().delete_instance_files(instance)

    # -- start -----------------------------------------------------------

    def spawn(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Build an instance, also one that is evacuated to this host.

        An evacuation takes the files that it finds here for disks that both
        hosts share. They may be empty bases.
        """
        self._service.guard.check_start(instance, 'build')
        evacuation.check(context, instance)
        self._service.kept.drop(instance.uuid)
        super().spawn(context, instance, *args, **kwargs)

    def _create_guest(
        self, context: Any, xml: str, instance: Any, *more: Any, **kwargs: Any
    ) -> Any:
        self._service.guard.check_start(instance, 'start')
        return super()._create_guest(context, xml, instance, *more, **kwargs)

    def _hard_reboot(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._service.guard.check_start(instance, 'hard reboot')
        super()._hard_reboot(context, instance, *args, **kwargs)

    def resume_state_on_host_boot(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._service.guard.check_start(instance, 'start')
        super().resume_state_on_host_boot(context, instance, *args, **kwargs)

    # -- use -------------------------------------------------------------

    def snapshot(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._service.guard.check_use(instance, 'take a snapshot of')
        super().snapshot(context, instance, *args, **kwargs)

    def rescue(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._service.guard.check_use(instance, 'rescue')
        super().rescue(context, instance, *args, **kwargs)

    def suspend(self, context: Any, instance: Any) -> None:
        with _state_kept():
            self._service.guard.check_use(instance, 'suspend')
        super().suspend(context, instance)

    def migrate_disk_and_power_off(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        with _state_kept():
            self._service.guard.check_move(instance, 'resize')
        return super().migrate_disk_and_power_off(
            context, instance, *args, **kwargs
        )


@contextlib.contextmanager
def _state_kept() -> Iterator[None]:
    """Refuse so that Nova leaves the instance in the state that it is in."""
    try:
        yield
    except compat.MigrationError as e:
        raise compat.InstanceFaultRollback(e) from e
