# SPDX-License-Identifier: Apache-2.0
"""The compute driver: ``compute_driver = blockcopy.BlockCopyLibvirtDriver``.

It takes over the local disks in a block live migration. Everything else,
and every migration in which either host does not take part, is Nova's own
libvirt driver, untouched. What each override stands for, and in which order
Nova calls them, is in the contributor guide.
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

import libvirt
from oslo_log import log as logging

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.migration import peer
from nova_blockcopy.nova import bases
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import guards
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import live_migration
from nova_blockcopy.nova import reconcile
from nova_blockcopy.nova import service

LOG = logging.getLogger(__name__)

conf.register_opts(compat.CONF)


class BlockCopyLibvirtDriver(compat.LibvirtDriver):  # type: ignore[misc]
    """Nova's libvirt driver, whose block live migration is the engine's."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        compat.check()
        super().__init__(virtapi, read_only)
        self._departures: dict[str, live_migration.LiveMigration] = {}
        self._arriving: dict[str, handshake.Terms] = {}

    def init_host(self, host: str) -> None:
        super().init_host(host)
        self._service = service.Service(
            host,
            self._host.get_connection,
            self._uri(),
            self._remove_deleted,
        )
        self._service.kept.start()
        self._reconciler = reconcile.Reconciler(
            self._service, self.virtapi._compute
        )
        self._unsettled = self._reconciler.run()
        self._reconciler.go_on(self._unsettled)

    def process_instances_at_startup(
        self, context: Any, instances: Any
    ) -> Any:
        """Keep Nova from what is still on its way; since Nova 34.

        It would take an instance that migrates for one that is at home.
        """
        found = super().process_instances_at_startup(context, instances)
        return [each for each in found if each.uuid not in self._unsettled]

    # -- before: is it possible? -----------------------------------------

    def check_can_live_migrate_destination(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        self._refuse_unfinished(instance)
        if compat.CONF.libvirt.images_type == 'lvm':
            kept = self._service.kept.volumes(instance.uuid)
            left = [
                path for path in self._lvm_disks(instance) if path not in kept
            ]
            if left:
                raise compat.MigrationPreCheckError(
                    reason=f'{", ".join(left)} exists on the destination '
                    f'already; see what it is, and remove it.'
                )
        data = super().check_can_live_migrate_destination(
            context, instance, *args, **kwargs
        )
        handshake.write(
            data, handshake.Terms(tls=self._service.settings.export_tls)
        )
        return data

    def check_can_live_migrate_source(
        self,
        context: Any,
        instance: Any,
        dest_check_data: Any,
        block_device_info: Any = None,
    ) -> Any:
        self._refuse_unfinished(instance)
        self._refuse_shared_directory_of_volumes(instance, dest_check_data)
        data = super().check_can_live_migrate_source(
            context, instance, dest_check_data, block_device_info
        )
        if not data.block_migration:
            return data
        terms = handshake.read(data)
        if terms is None:
            raise compat.MigrationPreCheckError(
                reason='the destination does not run nova-blockcopy, or '
                'another version of it; choose another host.'
            )
        if data.image_type != compat.CONF.libvirt.images_type:
            raise compat.MigrationPreCheckError(
                reason=f'the destination has [libvirt] images_type = '
                f'{data.image_type}, this host has '
                f'{compat.CONF.libvirt.images_type}.'
            )
        if instance.ephemeral_key_uuid is not None:
            raise compat.MigrationPreCheckError(
                reason='its disks are encrypted volumes, which cannot be '
                'moved.'
            )
        disks = self._get_instance_disk_info(instance, block_device_info)
        try:
            self._service.check_departure(
                instance, [disk['path'] for disk in disks], tls=terms.tls
            )
        except exception.BlockCopyError as e:
            raise compat.MigrationPreCheckError(reason=str(e)) from e
        handshake.write(data, handshake.Terms(agreed=True))
        return data

    def check_source_migrate_data_at_dest(
        self, ctxt: Any, instance: Any, migrate_data: Any, *more: Any
    ) -> Any:
        if handshake.agreed(migrate_data):
            directory = compat.instance_path(instance)
            if os.path.exists(directory):
                # Nova would find it too late, and then remove it
                raise compat.MigrationPreCheckError(
                    reason=f'{directory} exists on the destination already; '
                    f'see what it is, and remove it.'
                )
        return super().check_source_migrate_data_at_dest(
            ctxt, instance, migrate_data, *more
        )

    # -- the destination -------------------------------------------------

    def pre_live_migration(
        self,
        context: Any,
        instance: Any,
        block_device_info: Any,
        network_info: Any,
        disk_info: Any,
        migrate_data: Any,
    ) -> Any:
        terms = handshake.read(migrate_data)
        prepare = functools.partial(
            super().pre_live_migration,
            context,
            instance,
            block_device_info,
            network_info,
            disk_info,
            migrate_data,
        )
        if terms is None or not terms.agreed:
            return prepare()
        self._arriving[instance.uuid] = terms
        try:
            with self._service.expecting(instance.uuid):
                data = prepare()
            handshake.write(data, self._arriving[instance.uuid])
        finally:
            del self._arriving[instance.uuid]
        return data

    def _create_images_and_backing(
        self,
        context: Any,
        instance: Any,
        instance_dir: str,
        disk_info: Any,
        fallback_from_host: str | None = None,
    ) -> None:
        terms = self._arriving.get(instance.uuid)
        left_to_nova = disk_info or []
        if terms is not None:
            requests = {
                info['path']: bases.request(info, instance_dir)
                for info in left_to_nova
            }
            self._arriving[instance.uuid] = handshake.Terms(
                agreed=True, bases=requests
            )
            self._service.expected.note(
                instance.uuid,
                instance.host,
                [base.path for base in requests.values()],
            )
            kept = self._service.kept.adopt(
                instance.uuid,
                {
                    base.path: (base.format, info['virt_disk_size'])
                    for info, base in zip(
                        left_to_nova, requests.values(), strict=True
                    )
                },
            )
            volumes = [d for d in left_to_nova if bases.is_volume(d['path'])]
            for info in volumes:
                if requests[info['path']].path not in kept:
                    bases.create_volume(info['path'], info['virt_disk_size'])
            left_to_nova = [
                {**d, 'backing_file': ''} if bases.is_made_here(d) else d
                for d in left_to_nova
                if d not in volumes
            ]
        super()._create_images_and_backing(
            context,
            instance,
            instance_dir,
            left_to_nova,
            fallback_from_host=fallback_from_host,
        )
        if terms is not None:
            self._service.kept.put_back(instance.uuid)

    def check_instance_shared_storage_remote(
        self, context: Any, data: Any
    ) -> Any:
        message = data.get(channel.KEY)
        if message is None:
            return super().check_instance_shared_storage_remote(context, data)
        return self._service.answer(message)

    def rollback_live_migration_at_destination(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any,
        destroy_disks: bool = True,
        migrate_data: Any = None,
    ) -> None:
        self._forbid_removal(instance)
        if migrate_data is not None and handshake.agreed(migrate_data):
            self._service.keep_bases(instance.uuid)
        super().rollback_live_migration_at_destination(
            context,
            instance,
            network_info,
            block_device_info,
            destroy_disks=destroy_disks,
            migrate_data=migrate_data,
        )
        self._service.forget_bases(instance.uuid)

    # -- the source ------------------------------------------------------

    def rollback_live_migration_at_source(
        self, context: Any, instance: Any, migrate_data: Any
    ) -> None:
        """Bind the ports here again.

        They are bound to the destination as soon as libvirt has moved the
        guest, from where there is no way back in Nova alone.
        """
        if handshake.agreed(migrate_data):
            dest = migrate_data.migration.dest_compute
            with _ports_bound(instance, compat.CONF.host):
                compat.take_ports_back(
                    self.virtapi._compute, context, instance, dest
                )
        super().rollback_live_migration_at_source(
            context, instance, migrate_data
        )

    def _bind_ports(self, context: Any, instance: Any, host: str) -> None:
        with _ports_bound(instance, host):
            compat.bind_ports(self.virtapi._compute, context, instance, host)

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
        self._departures[instance.uuid] = live_migration.LiveMigration(
            migrate_data.migration
        )
        try:
            migrate()
        finally:
            leaving = self._departures.pop(instance.uuid)
            if leaving.outcome is live_migration.Outcome.STUCK:
                self._reconciler.go_on([instance.uuid])

    def _live_migration_copy_disk_paths(
        self, context: Any, instance: Any, guest: Any
    ) -> Any:
        if instance.uuid in self._departures:
            return [], []  # libvirt has nothing to copy
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
        operation = functools.partial(
            super()._live_migration_operation,
            context,
            instance,
            dest,
            block_migration,
            migrate_data,
        )
        leaving = self._departures.get(instance.uuid)
        if leaving is None:
            if handshake.agreed(migrate_data):
                # its monitor has failed already; Nova's way alone would
                # start it on disks that are empty
                raise compat.MigrationError(reason='it was given up.')
            operation(guest, device_names)
            return
        try:
            moving = self._service.departure(
                instance,
                dest,
                channel.RpcChannel(context, dest),
                _bases(migrate_data),
                self._endpoint(_address(migrate_data, dest)),
                self._endpoint(_own_address()),
                lambda disks: live_migration.Switch(
                    operation=operation,
                    guest=guest,
                    disks=disks,
                    arrived=functools.partial(
                        self._bind_ports, context, instance, dest
                    ),
                ),
                leaving.note,
            )
        except exception.BlockCopyError as e:
            LOG.warning('Nothing was moved: %s', e, instance=instance)
            leaving.refuse(e)
            return
        leaving.run(moving)

    def _live_migration_monitor(
        self, context: Any, instance: Any, guest: Any, *more: Any
    ) -> None:
        leaving = self._departures.get(instance.uuid)
        if leaving is not None:
            guest = live_migration.WatchedGuest(guest, leaving)
        super()._live_migration_monitor(context, instance, guest, *more)

    def live_migration_abort(self, instance: Any) -> None:
        leaving = self._departures.get(instance.uuid)
        if leaving is None:
            super().live_migration_abort(instance)
            return
        if leaving.outcome is not live_migration.Outcome.OPEN:
            return
        if not leaving.abort():
            raise compat.MigrationError(
                reason='the guest is taking to its new disks; it is too late '
                'to abort.'
            )
        if leaving.switching:
            try:
                super().live_migration_abort(instance)
            except (libvirt.libvirtError, compat.InstanceNotFound) as e:
                # it has just ended
                LOG.debug('No job to abort: %s', e, instance=instance)

    def _endpoint(self, address: str) -> model.Endpoint:
        return model.Endpoint(
            uri=self._live_migration_uri(address),
            migrate_uri=self._migrate_uri(address) or '',
        )

    # -- what the journal forbids ----------------------------------------

    def destroy(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Nova's API lets an instance be deleted while it moves.

        The move is taken back first, so that it is deleted where Nova has
        it, and nothing of it stays on the other host.
        """
        try:
            self._end_departure(instance)
            self._forbid_removal(instance)
        except compat.MigrationError as e:
            if instance.host != compat.CONF.host:
                # evacuated; Nova does not start here while this fails
                LOG.error(
                    'Nova has it on %s: it is only powered off here. %s',
                    instance.host,
                    e,
                    instance=instance,
                )
                self.power_off(instance)
                return
            # the one error that lets it be deleted again later
            raise compat.InstancePowerOffFailure(reason=e) from e
        super().destroy(context, instance, *args, **kwargs)

    def _remove_deleted(self, uuid: str) -> None:
        """Remove the disks and interfaces of an instance that was deleted.

        :raises MigrationError: it was not
        """
        context = compat.admin_context(read_deleted=True)
        instance = compat.instance(context, uuid)
        if not instance.deleted:
            raise compat.MigrationError(reason=f'{uuid} is not deleted.')
        super().cleanup(context, instance, instance.get_network_info())

    def _end_departure(self, instance: Any) -> None:
        """Have an instance that moves away from here come back.

        :raises MigrationError: it is too late for that
        """
        leaving = self._departures.get(instance.uuid)
        if leaving is None:
            return
        LOG.info('Its move is aborted to delete it', instance=instance)
        self.live_migration_abort(instance)
        leaving.wait(self._service.settings.switchover_timeout)
        if leaving.outcome is live_migration.Outcome.DONE:
            raise compat.MigrationError(reason='it has just moved.')

    def cleanup(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._forbid_removal(instance)
        super().cleanup(context, instance, *args, **kwargs)

    def _cleanup_lvm(self, instance: Any, block_device_info: Any) -> None:
        self._forbid_removal(instance)
        if self._service.kept.volumes(instance.uuid):
            return
        super()._cleanup_lvm(instance, block_device_info)

    def delete_instance_files(self, instance: Any) -> Any:
        self._forbid_removal(instance)
        return super().delete_instance_files(instance)

    def _hard_reboot(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._forbid_start(instance, 'hard reboot')
        super()._hard_reboot(context, instance, *args, **kwargs)

    def spawn(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """An evacuation would even take bases for disks that it shares."""
        self._forbid_start(instance, 'build')
        self._forbid_evacuation(context, instance)
        self._service.kept.drop(instance.uuid)
        super().spawn(context, instance, *args, **kwargs)

    def _create_guest(
        self, context: Any, xml: str, instance: Any, *more: Any, **kwargs: Any
    ) -> Any:
        self._forbid_start(instance, 'start')
        return super()._create_guest(context, xml, instance, *more, **kwargs)

    def resume_state_on_host_boot(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._forbid_start(instance, 'start')
        super().resume_state_on_host_boot(context, instance, *args, **kwargs)

    def snapshot(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._forbid(instance, guards.forbids_use, 'take a snapshot of')
        super().snapshot(context, instance, *args, **kwargs)

    def suspend(self, context: Any, instance: Any) -> None:
        self._forbid_and_stay(instance, 'suspend')
        super().suspend(context, instance)

    def rescue(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._forbid(instance, guards.forbids_use, 'rescue')
        super().rescue(context, instance, *args, **kwargs)

    def migrate_disk_and_power_off(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        self._forbid_and_stay(instance, 'resize')
        return super().migrate_disk_and_power_off(
            context, instance, *args, **kwargs
        )

    def _forbid_start(self, instance: Any, action: str) -> None:
        self._forbid(instance, guards.forbids_start, action)
        if self._service.expected.find(instance.uuid) is not None:
            raise compat.MigrationError(
                reason=f'cannot {action} instance {instance.uuid}: this host '
                f'has empty disks of it, for a migration that has not begun.'
            )

    def _forbid_evacuation(self, context: Any, instance: Any) -> None:
        """Refuse to build an instance whose guest may run on a third host.

        It was moving there when its host went down. Nova does not know.
        """
        if instance.task_state != compat.REBUILD_SPAWNING:
            return
        moving = compat.latest_migration(context, instance.uuid)
        if moving is None or moving.dest_compute == compat.CONF.host:
            return
        try:
            guarded = peer.ask(
                channel.RpcChannel(context, moving.dest_compute, questions=1),
                service.GUARDED_OPERATION,
                instance.uuid,
            )['guarded']
        except exception.NoPeer:
            return
        except exception.PeerError as e:
            if not compat.is_in_progress(moving) or compat.is_fenced(
                context, moving.dest_compute
            ):
                return
            raise compat.MigrationError(
                reason=f'cannot build instance {instance.uuid}: its guest may '
                f'run on {moving.dest_compute}, which does not answer; have '
                f'that host come back, or end the guest and force its '
                f'nova-compute down: {e}'
            ) from e
        if guarded:
            raise compat.MigrationError(
                reason=f'cannot build instance {instance.uuid}: its guest may '
                f'run on {moving.dest_compute}; see the journal there.'
            )

    def _forbid_removal(self, instance: Any) -> None:
        self._forbid(instance, guards.forbids_removal, 'remove')

    def _forbid_and_stay(self, instance: Any, action: str) -> None:
        """Refuse so that Nova leaves the instance in the state it is in."""
        try:
            self._forbid(instance, guards.forbids_use, action)
        except compat.MigrationError as e:
            raise compat.InstanceFaultRollback(e) from e

    def _forbid(self, instance: Any, rule: Any, action: str) -> None:
        """Ask the journal of this host.

        :raises MigrationError: it forbids it
        """
        try:
            record = self._service.guarding_record(instance.uuid)
        except exception.JournalError as e:
            raise compat.MigrationError(
                reason=f'cannot {action} instance {instance.uuid}: {e}'
            ) from e
        reason = None if record is None else rule(record)
        if reason is not None:
            raise compat.MigrationError(
                reason=f'cannot {action} instance {instance.uuid}: {reason}.'
            )

    def _refuse_unfinished(self, instance: Any) -> None:
        try:
            record = self._service.journal.find(instance.uuid)
        except exception.JournalError as e:
            raise compat.MigrationPreCheckError(reason=str(e)) from e
        if record is not None:
            raise compat.MigrationPreCheckError(
                reason=f'host {compat.CONF.host} has the journal of an '
                f'unfinished migration of it, in state {record.state}; '
                f'settle that first.'
            )

    def _refuse_shared_directory_of_volumes(
        self, instance: Any, dest_check_data: Any
    ) -> None:
        if compat.CONF.libvirt.images_type == 'lvm' and (
            self._check_shared_storage_test_file(
                dest_check_data.filename, instance
            )
        ):
            raise compat.MigrationPreCheckError(
                reason='images_type = lvm with an instances_path that both '
                'hosts share is not supported: Nova takes the volumes for '
                'shared too.'
            )


@contextlib.contextmanager
def _ports_bound(instance: Any, host: str) -> Iterator[None]:
    """Let the network reach a guest where it runs, or say that it does not."""
    try:
        yield
    except compat.NovaException as e:
        LOG.error(
            'It runs on %s, but its ports are not bound to that host; bind '
            'them there by hand: %s',
            *(host, e),
            instance=instance,
        )


def _bases(migrate_data: Any) -> dict[str, model.BaseRequest]:
    terms = handshake.read(migrate_data)
    return {} if terms is None else terms.bases


def _address(migrate_data: Any, dest: str) -> str:
    """Where the destination's libvirt is, as Nova finds it."""
    if 'target_connect_addr' in migrate_data:
        return str(migrate_data.target_connect_addr or dest)
    return dest


def _own_address() -> str:
    libvirt_conf = compat.CONF.libvirt
    return str(libvirt_conf.live_migration_inbound_addr or compat.CONF.host)
