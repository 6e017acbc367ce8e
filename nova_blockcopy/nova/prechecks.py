# SPDX-License-Identifier: Apache-2.0
"""The checks of both hosts before a live migration.

Nova's conductor tries another host only if a check raises exactly
``nova.exception.MigrationPreCheckError``, so each refusal is of that class.
"""

import os
from typing import Any

from nova_blockcopy import appraisal
from nova_blockcopy import exception
from nova_blockcopy import states
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import reasons
from nova_blockcopy.nova import service
from nova_blockcopy.nova import tagging
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import waiting

LOG = logging.getLogger(__name__)

#: Seconds that a settled migration gets to close its journal.
_CLOSING = 10


@tagging.tagged
class Prechecks(compat.LibvirtDriver):  # type: ignore[misc]
    """The mixin for the checks, in the order in which Nova calls them.

    The destination offers to take part, and the source agrees. Then the
    destination looks for leftovers.
    """

    _service: service.Service

    def check_can_live_migrate_destination(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Offer to take part. Runs on the destination."""
        _check_settled(self._service, instance)
        self._check_no_volumes(instance)
        data = super().check_can_live_migrate_destination(
            context, instance, *args, **kwargs
        )
        handshake.write(
            data,
            handshake.Terms(
                host=compat.CONF.host,
                images=compat.images_type(),
            ),
        )
        return data

    def check_can_live_migrate_source(
        self,
        context: Any,
        instance: Any,
        dest_check_data: Any,
        block_device_info: Any = None,
    ) -> Any:
        """Agree if the engine can copy the disks. Runs on the source."""
        _check_settled(self._service, instance)
        self._check_directory_of_volumes(instance, dest_check_data)
        data = super().check_can_live_migrate_source(
            context, instance, dest_check_data, block_device_info
        )
        if not data.block_migration:
            return data
        terms = handshake.read(data)
        if terms is None:
            raise reasons.refusal(
                'the destination does not run nova-blockcopy, or runs '
                'another version of it. Choose another host.'
            )
        _check_images(instance, terms)
        disks = self._get_instance_disk_info(instance, block_device_info)
        try:
            appraised = self._service.appraise(
                instance.uuid,
                disks,
                terms.host,
                channel.RpcChannel(context, terms.host, questions=1),
            )
        except exception.BlockCopyError as e:
            raise reasons.refusal(e) from e
        _check_goes(instance, appraised, terms.host)
        handshake.write(data, handshake.Terms(agreed=True))
        return data

    def check_source_migrate_data_at_dest(
        self, ctxt: Any, instance: Any, migrate_data: Any, *more: Any
    ) -> Any:
        """Refuse bases that are not safe. Runs on the destination.

        The directory of the instance must not exist. If the bases are
        volumes, it must be possible to tell whether one is in use.
        """
        if handshake.agreed(migrate_data):
            self._check_volumes()
            directory = compat.instance_path(instance)
            if os.path.exists(directory):
                # Nova would find it later, and its rollback would remove it
                raise reasons.refusal(
                    f'{directory} already exists on the destination. '
                    f'Find out what it is, and remove it.'
                )
        return super().check_source_migrate_data_at_dest(
            ctxt, instance, migrate_data, *more
        )

    def _check_no_volumes(self, instance: Any) -> None:
        """Pass if this host has no volumes of the instance but kept ones."""
        if compat.CONF.libvirt.images_type != 'lvm':
            return
        kept = self._service.kept.volumes(instance.uuid)
        left = [path for path in self._lvm_disks(instance) if path not in kept]
        if left:
            raise reasons.refusal(
                f'{", ".join(left)} already exists on the '
                f'destination. Find out what it is, and remove it.'
            )

    def _check_volumes(self) -> None:
        if compat.CONF.libvirt.images_type != 'lvm':
            return
        try:
            self._service.check_volumes()
        except exception.BlockCopyError as e:
            raise reasons.refusal(e) from e

    def _check_directory_of_volumes(
        self, instance: Any, dest_check_data: Any
    ) -> None:
        """Refuse volumes together with a shared ``instances_path``."""
        if compat.CONF.libvirt.images_type == 'lvm' and (
            self._check_shared_storage_test_file(
                dest_check_data.filename, instance
            )
        ):
            raise reasons.refusal(
                'both hosts share instances_path, and images_type is '
                'lvm. This is not supported, because Nova would take the '
                'volumes for shared too. Use a separate instances_path on '
                'each host.'
            )


def _check_settled(engine: service.Service, instance: Any) -> None:
    """Pass if this host has no journal of the instance, or soon has none.

    Nova calls a migration completed shortly before the journals close.
    """

    def settled() -> bool:
        record = engine.journal.find(instance.uuid)
        return record is None or record.state is not states.State.SETTLED

    try:
        waiting.until(settled, timeout=_CLOSING)
        record = engine.journal.find(instance.uuid)
    except exception.JournalError as e:
        raise reasons.refusal(e) from e
    if record is not None:
        raise reasons.refusal(
            f'host {compat.CONF.host} has the journal of an '
            f'unfinished migration of this instance, in state '
            f'{record.state}. Settle that migration first.'
        )


def _check_goes(
    instance: Any, appraised: appraisal.Appraisal, dest: str
) -> None:
    """Pass if no host refuses. The log has all reasons."""
    for each in appraised.remarks:
        LOG.warning(
            'Before the migration to %s: %s', dest, each, instance=instance
        )
    against = appraised.refusals
    if appraised.destination is None:
        against = (*against, f'{dest} was not asked: {appraised.unasked}')
    if len(against) == 1:
        raise reasons.refusal(against[0])
    if against:
        LOG.warning(
            'The migration to %s is refused, for %d reasons: %s',
            *(dest, len(against), ' '.join(against)),
            instance=instance,
        )
        raise reasons.refusal(
            f'{against[0]} There are {len(against) - 1} more reasons. See '
            f'"nova-blockcopy plan {instance.uuid} --to {dest}" on '
            f'{compat.CONF.host}.'
        )


def _check_images(instance: Any, terms: handshake.Terms) -> None:
    """Pass if both hosts have one type of images, which is not encrypted."""
    if terms.images != compat.images_type():
        raise reasons.refusal(
            f'the destination has [libvirt] images_type = '
            f'{terms.images}, and this host has {compat.images_type()}. '
            f'Choose a host with the same images_type.'
        )
    if instance.ephemeral_key_uuid is not None:
        raise reasons.refusal(
            'its disks are encrypted volumes, which cannot be migrated. Use '
            'another way to move the instance.'
        )
