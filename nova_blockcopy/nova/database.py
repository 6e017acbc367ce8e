# SPDX-License-Identifier: Apache-2.0
"""Nova's own records of instances, live migrations and services."""

import datetime
from typing import Any

from nova_blockcopy.nova import compat

_IN_PROGRESS = ['preparing', 'running']


def admin_context(*, read_deleted: bool = False) -> Any:
    return compat.get_admin_context('yes' if read_deleted else 'no')


def instance(context: Any, uuid: str) -> Any:
    """An instance with all that Nova's migration code looks at."""
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
    return compat.BlockDeviceMappingList.get_by_instance_uuid(context, uuid)


def unbegun_migrations(context: Any) -> list[Any]:
    """The live migrations from here that Nova was preparing when it ended."""
    return _live_migrations(
        context, source_compute=compat.CONF.host, status=_IN_PROGRESS
    )


def unfinished_migration(
    context: Any, uuid: str, dest: str, begun: datetime.datetime
) -> Any:
    """The live migration from here of an instance that Nova has not ended.

    Nova calls it an error when it finds it at its start, but does not take
    it back. Later ones to the same host have been refused, and are errors
    too.

    :param begun: when it had begun already
    :returns: None if Nova has ended it, or knows of none
    """
    found = _live_migrations(
        context, instance_uuid=uuid, source_compute=compat.CONF.host
    )
    earlier = [
        each
        for each in found
        if each.dest_compute == dest and each.created_at <= begun
    ]
    latest = max(earlier, key=lambda each: each.id, default=None)
    if latest is None or latest.status not in ('running', 'error'):
        return None
    return latest


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
    """Whether Nova has not ended a live migration that it had begun."""
    return migration.status in _IN_PROGRESS


def is_fenced(context: Any, host: str) -> bool:
    """Whether an administrator has said that nothing runs on a host.

    That is what ``openstack compute service set --down`` means to Nova, and
    the removal of a service.
    """
    found = compat.Service.get_by_compute_host(context, host)
    return found is None or bool(found.forced_down)


def reopen(instance: Any, migration: Any) -> None:
    """Have Nova take an instance for one that is being migrated.

    Its ways forward and back demand that, and after a crash it may have
    made something else of an instance that it could not find.
    """
    if migration.status != 'running':
        migration.status = 'running'
        migration.save()
    instance.vm_state = 'active'
    instance.task_state = compat.MIGRATING
    instance.save()


def migrate_data(migration: Any) -> Any:
    """Nova's data of an unfinished live migration, made again."""
    return compat.LibvirtLiveMigrateData(
        migration=migration,
        block_migration=True,
        is_shared_instance_path=False,
        is_shared_block_storage=False,
        instance_relative_path=migration.instance_uuid,
        bdms=[],
    )
