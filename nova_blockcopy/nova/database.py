# SPDX-License-Identifier: Apache-2.0
"""Nova's own records of instances, live migrations and services."""

import datetime
from typing import Any

from oslo_context import context as oslo_context

from nova_blockcopy.nova import compat

_IN_PROGRESS = ['preparing', 'running']
#: The task states in which Nova does nothing with an instance that the
#: journal does not forbid.
IDLE = (None, compat.MIGRATING, compat.DELETING)


def admin_context(*, read_deleted: bool = False) -> Any:
    """A context for requests of nova-compute itself.

    It has the id of the request that this thread works for, if there is one.

    :param read_deleted: also find instances that were deleted
    """
    made = compat.get_admin_context('yes' if read_deleted else 'no')
    current = oslo_context.get_current()
    if current is not None:
        made.request_id = current.request_id
    return made


def begin_request(request_id: str = '') -> None:
    """Have the lines and messages of this thread belong to one request.

    :param request_id: that of an earlier request that is gone on with; a new
        one without it
    """
    made = compat.get_admin_context()
    made.request_id = request_id or oslo_context.generate_request_id()
    made.update_store()


def instance(context: Any, uuid: str) -> Any:
    """An instance with all fields that Nova's migration code reads.

    :raises InstanceNotFound: there is none, or it was deleted
    """
    return compat.Instance.get_by_uuid(
        context,
        uuid,
        expected_attrs=[
            *('info_cache', 'metadata', 'system_metadata', 'flavor'),
            *('numa_topology', 'pci_devices', 'pci_requests'),
            'migration_context',
        ],
    )


def block_devices(context: Any, uuid: str) -> Any:
    """The block device mappings of an instance."""
    return compat.BlockDeviceMappingList.get_by_instance_uuid(context, uuid)


def unbegun_migrations(context: Any) -> list[Any]:
    """The live migrations from this host that Nova has not ended."""
    return _live_migrations(
        context, source_compute=compat.CONF.host, status=_IN_PROGRESS
    )


def live_migration(
    context: Any, uuid: str, source: str, dest: str, begun: datetime.datetime
) -> Any:
    """The live migration of an instance that a journal is about.

    Later ones to the same host exist, too, because the journal has refused
    them.

    :param source: the source's name in Nova, and ``dest`` the destination's
    :param begun: a time after the begin of this migration, and before that
        of any later one
    :returns: None if Nova has no record of it
    """
    found = _live_migrations(
        context, instance_uuid=uuid, source_compute=source
    )
    earlier = [
        each
        for each in found
        if each.dest_compute == dest and each.created_at <= begun
    ]
    return max(earlier, key=lambda each: each.id, default=None)


def is_unfinished(migration: Any) -> bool:
    """Whether Nova has its part of a live migration left.

    At its start Nova gives a migration that a crash has interrupted the
    status ``error``, but neither goes on nor rolls back.
    """
    return migration.status in ('running', 'error')


def latest_migration(context: Any, uuid: str) -> Any:
    """The latest live migration of an instance; None if there was none."""
    found = _live_migrations(context, instance_uuid=uuid)
    return max(found, key=lambda each: each.id, default=None)


def _live_migrations(context: Any, **filters: Any) -> list[Any]:
    return list(
        compat.MigrationList.get_by_filters(
            context, {'migration_type': 'live-migration', **filters}
        )
    )


def is_in_progress(migration: Any) -> bool:
    """Whether Nova has begun a live migration and not ended it."""
    return migration.status in _IN_PROGRESS


def is_fenced(context: Any, host: str) -> bool:
    """Whether an administrator has told Nova that nothing runs on a host.

    ``openstack compute service set --down`` tells Nova so, and so does the
    removal of the service.
    """
    found = compat.Service.get_by_compute_host(context, host)
    return found is None or bool(found.forced_down)


def reopen(instance: Any, migration: Any, vm_state: str) -> None:
    """Give an instance and its migration the states of a running migration.

    Nova rolls back or goes on only from these states. After a crash it may
    have given others to an instance whose guest it could not find.

    :param vm_state: the instance's, if Nova's is ``error`` now
    :raises NovaException: a user has just begun something with the instance
    """
    if migration.status != 'running':
        migration.status = 'running'
        migration.save()
    if instance.vm_state == 'error':
        instance.vm_state = vm_state
    instance.task_state = compat.MIGRATING
    instance.save(expected_task_state=list(IDLE))


def migrate_data(migration: Any) -> Any:
    """Nova's data of an interrupted live migration, made again."""
    return compat.LibvirtLiveMigrateData(
        migration=migration,
        block_migration=True,
        is_shared_instance_path=False,
        is_shared_block_storage=False,
        instance_relative_path=migration.instance_uuid,
        bdms=[],
    )
