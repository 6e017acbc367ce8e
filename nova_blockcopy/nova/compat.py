# SPDX-License-Identifier: Apache-2.0
"""All that is used of Nova's internals, and the check that it is there.

Extension points of Nova carry no guarantee. What changes between versions
is found out when nova-compute starts, not when a guest is on its way.
"""

import datetime
import importlib.metadata
import inspect
from typing import Any

import nova.conf
import nova.context
import nova.exception
from nova import objects
from nova.compute import rpcapi
from nova.compute import task_states
from nova.objects import migrate_data as migrate_data_objects
from nova.virt.libvirt import driver
from nova.virt.libvirt import guest
from nova.virt.libvirt import utils
from nova.virt.libvirt.storage import lvm

CONF = nova.conf.CONF
LibvirtDriver: Any = driver.LibvirtDriver
JobInfo: Any = guest.JobInfo
BDMInfo: Any = migrate_data_objects.LibvirtLiveMigrateBDMInfo
ComputeAPI: Any = rpcapi.ComputeAPI
NovaException: Any = nova.exception.NovaException
MigrationPreCheckError: Any = nova.exception.MigrationPreCheckError
MigrationError: Any = nova.exception.MigrationError
InstanceNotFound: Any = nova.exception.InstanceNotFound
HypervisorUnavailable: Any = nova.exception.HypervisorUnavailable
InstancePowerOffFailure: Any = nova.exception.InstancePowerOffFailure
InstanceFaultRollback: Any = nova.exception.InstanceFaultRollback
DestinationDiskExists: Any = nova.exception.DestinationDiskExists
create_volume = lvm.create_volume
list_volumes = lvm.list_volumes
remove_volumes = lvm.remove_volumes
instance_path = utils.get_instance_path
REBUILD_SPAWNING = task_states.REBUILD_SPAWNING

_IN_PROGRESS = ['preparing', 'running']

#: Methods of Nova's driver that are overridden or called, and the leading
#: parameters that are relied on.
_DRIVER_METHODS = {
    'init_host': ('host',),
    'check_can_live_migrate_destination': (
        *('context', 'instance', 'src_compute_info', 'dst_compute_info'),
        *('block_migration', 'disk_over_commit'),
    ),
    'check_source_migrate_data_at_dest': (
        *('ctxt', 'instance', 'migrate_data', 'migration', 'limits'),
        'allocs',
    ),
    'check_can_live_migrate_source': (
        *('context', 'instance', 'dest_check_data', 'block_device_info'),
    ),
    'check_instance_shared_storage_remote': ('context', 'data'),
    'pre_live_migration': (
        *('context', 'instance', 'block_device_info', 'network_info'),
        *('disk_info', 'migrate_data'),
    ),
    'live_migration': (
        *('context', 'instance', 'dest', 'post_method', 'recover_method'),
        *('block_migration', 'migrate_data'),
    ),
    'live_migration_abort': ('instance',),
    'rollback_live_migration_at_destination': (
        *('context', 'instance', 'network_info', 'block_device_info'),
        *('destroy_disks', 'migrate_data'),
    ),
    'rollback_live_migration_at_source': (
        *('context', 'instance', 'migrate_data'),
    ),
    'spawn': ('context', 'instance', 'image_meta'),
    'destroy': ('context', 'instance', 'network_info'),
    'power_off': ('instance',),
    'cleanup': ('context', 'instance', 'network_info'),
    'snapshot': ('context', 'instance'),
    'suspend': ('context', 'instance'),
    'rescue': ('context', 'instance'),
    'migrate_disk_and_power_off': ('context', 'instance', 'dest'),
    'resume_state_on_host_boot': ('context', 'instance', 'network_info'),
    'delete_instance_files': ('instance',),
    '_cleanup_lvm': ('instance', 'block_device_info'),
    '_create_guest': ('context', 'xml', 'instance'),
    '_hard_reboot': ('context', 'instance', 'network_info'),
    '_create_images_and_backing': (
        *('context', 'instance', 'instance_dir', 'disk_info'),
        'fallback_from_host',
    ),
    '_get_instance_disk_info': ('instance', 'block_device_info'),
    '_check_shared_storage_test_file': ('filename', 'instance'),
    '_live_migration_copy_disk_paths': ('context', 'instance', 'guest'),
    '_live_migration_operation': (
        *('context', 'instance', 'dest', 'block_migration'),
        *('migrate_data', 'guest', 'device_names'),
    ),
    '_live_migration_monitor': ('context', 'instance', 'guest'),
    '_lvm_disks': ('instance',),
    '_live_migration_uri': ('dest',),
    '_migrate_uri': ('dest',),
    '_uri': (),
}


def check() -> None:
    """Pass if this Nova has what is used of it.

    :raises ImportError: it has not; nova-compute reports that and ends
    """
    lacking = [
        f'{name}({", ".join(parameters)})'
        for name, parameters in _DRIVER_METHODS.items()
        if not _fits(getattr(LibvirtDriver, name, None), parameters)
    ]
    if lacking:
        raise ImportError(
            f'nova-blockcopy does not fit Nova {version()}: LibvirtDriver '
            f'lacks {"; ".join(lacking)}. Use a version of nova-blockcopy '
            f'that supports this Nova, or compute_driver = '
            f'libvirt.LibvirtDriver.'
        )


def monitor_interval() -> int:
    """Seconds between two figures of a migration; an option since Nova 34."""
    return getattr(CONF.libvirt, 'live_migration_monitor_interval', 5)


def admin_context(*, read_deleted: bool = False) -> Any:
    return nova.context.get_admin_context('yes' if read_deleted else 'no')


def instance(context: Any, uuid: str) -> Any:
    """An instance with all that Nova's migration code looks at."""
    return objects.Instance.get_by_uuid(
        context,
        uuid,
        expected_attrs=[
            *('info_cache', 'metadata', 'system_metadata', 'flavor'),
            *('numa_topology', 'pci_devices', 'pci_requests'),
            'migration_context',
        ],
    )


def block_devices(context: Any, uuid: str) -> Any:
    return objects.BlockDeviceMappingList.get_by_instance_uuid(context, uuid)


def unbegun_migrations(context: Any) -> list[Any]:
    """The live migrations from here that Nova was preparing when it ended."""
    return _live_migrations(
        context, source_compute=CONF.host, status=_IN_PROGRESS
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
        context, instance_uuid=uuid, source_compute=CONF.host
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
        objects.MigrationList.get_by_filters(
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
    found = objects.Service.get_by_compute_host(context, host)
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
    instance.task_state = 'migrating'
    instance.save()


def migrate_data(migration: Any) -> Any:
    """Nova's data of an unfinished live migration, made again."""
    return migrate_data_objects.LibvirtLiveMigrateData(
        migration=migration,
        block_migration=True,
        is_shared_instance_path=False,
        is_shared_block_storage=False,
        instance_relative_path=migration.instance_uuid,
        bdms=[],
    )


def bind_ports(manager: Any, context: Any, instance: Any, host: str) -> None:
    """Make those bindings of an instance's ports active that are for a host.

    A port that has none there is left as it is.

    :param manager: Nova's compute manager
    :raises NovaException: Neutron refuses it
    """
    manager.network_api.migrate_instance_start(
        context, instance, objects.Migration(dest_compute=host)
    )


def take_ports_back(
    manager: Any, context: Any, instance: Any, dest: str
) -> None:
    """Bind an instance's ports to this host again, and to no other.

    Neutron forgets how a port is bound when another host's binding becomes
    the active one (``Ml2Plugin.activate``), and binds it again here only
    with the port's next change, which is what takes the destination's
    bindings away. Nova's record of the ports is made afterwards, as the next
    migration unplugs them by it.

    :raises NovaException: Neutron refuses it
    """
    bind_ports(manager, context, instance, CONF.host)
    api = manager.network_api
    api.setup_networks_on_host(context, instance, host=dest, teardown=True)
    api.get_instance_nw_info(context, instance)


def version() -> str:
    return importlib.metadata.version('nova')


def _fits(method: Any, parameters: tuple[str, ...]) -> bool:
    if method is None:
        return False
    names = list(inspect.signature(method).parameters)
    if names[:1] == ['self']:
        names = names[1:]
    return tuple(names[: len(parameters)]) == parameters
