# SPDX-License-Identifier: Apache-2.0
"""The hooks that Nova calls on the destination of a live migration."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy.migration import peer
from nova_blockcopy.nova import bases
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import reasons
from nova_blockcopy.nova import service
from nova_blockcopy.nova import tagging
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)


@tagging.tagged
class DestinationHooks(compat.LibvirtDriver):  # type: ignore[misc]
    """The mixin for the bases, the messages and the rollback."""

    _service: service.Service

    def pre_live_migration(
        self,
        context: Any,
        instance: Any,
        block_device_info: Any,
        network_info: Any,
        disk_info: Any,
        migrate_data: Any,
    ) -> Any:
        """Have Nova prepare this host, and answer with the bases."""
        prepare = functools.partial(
            super().pre_live_migration,
            context,
            instance,
            block_device_info,
            network_info,
            disk_info,
            migrate_data,
        )
        if not handshake.agreed(migrate_data):
            return prepare()
        preparations = self._service.preparations
        with preparations.begun(instance.uuid), _told():
            data = prepare()
            made = preparations.bases(instance.uuid)
        handshake.write(data, handshake.Terms(agreed=True, bases=made))
        return data

    def _create_images_and_backing(
        self,
        context: Any,
        instance: Any,
        instance_dir: str,
        disk_info: Any,
        fallback_from_host: str | None = None,
    ) -> None:
        """Make the bases; Nova makes those that are files."""
        create = functools.partial(
            super()._create_images_and_backing, context, instance, instance_dir
        )
        disks = disk_info or []
        preparations = self._service.preparations
        if not preparations.under_way(instance.uuid):
            create(disks, fallback_from_host=fallback_from_host)
            return
        preparations.make_bases(instance, instance_dir, disks)
        create(
            bases.left_to_nova(disks), fallback_from_host=fallback_from_host
        )
        self._service.kept.put_back(instance.uuid)

    def check_instance_shared_storage_remote(
        self, context: Any, data: Any
    ) -> Any:
        """Answer a message of another host's driver, or Nova's question."""
        message = data.get(channel.KEY)
        if message is None:
            return super().check_instance_shared_storage_remote(context, data)
        with peer.about(message):
            return self._service.answer(message)

    def post_live_migration_at_destination(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_migration: bool = False,
        block_device_info: Any = None,
    ) -> None:
        """Have Nova do its part, and reserve images as Nova reserves them."""
        super().post_live_migration_at_destination(
            context, instance, network_info, block_migration, block_device_info
        )
        if not compat.reserves_images():
            return
        try:
            self._service.reserve_images(instance.uuid)
        except exception.BlockCopyError as e:
            # the guest runs all the same, and must not end in ERROR
            LOG.error(
                'preallocate_images is "space", but the space of the '
                'instance\'s disks is not reserved: %s',
                *(e,),
                instance=instance,
            )

    def rollback_live_migration_at_destination(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any,
        destroy_disks: bool = True,
        migrate_data: Any = None,
    ) -> None:
        """Have Nova remove the bases, but for those that are kept.

        After that nothing of the migration is left on this host.
        """
        self._service.guard.check_removal(instance)
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
        self._service.close_left(instance.uuid)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Have Nova show why this host cannot be prepared.

    :raises MigrationError: in place of an error that is not Nova's
    """
    try:
        yield
    except compat.NovaException:
        raise
    except Exception as e:  # of Nova's libraries, of the engine, of Python
        raise reasons.failure(
            f'the destination {compat.CONF.host} cannot be prepared: {e} '
            f'Remove the cause there, or choose another host.'
        ) from e
