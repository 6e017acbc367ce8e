# SPDX-License-Identifier: Apache-2.0
"""Everything of Nova that this package uses, public or private.

Nova gives no guarantee for what a driver outside its tree uses. This is the
only module that imports from Nova. The tables say what each name must offer,
and ``contract.check`` compares them with the Nova that is installed when
nova-compute starts.
"""

import importlib.metadata
import shlex
import threading
import types
from collections.abc import Sequence
from typing import Any

import nova.conf
import nova.config
import nova.context
import nova.exception
import nova.objects
import nova.rpc
import nova.utils
from nova.compute import manager
from nova.compute import rpcapi
from nova.compute import task_states
from nova.compute import utils as compute_utils
from nova.conductor import rpcapi as conductor_rpcapi
from nova.network import neutron
from nova.objects import base
from nova.objects import block_device
from nova.objects import instance
from nova.objects import instance_action
from nova.objects import migrate_data
from nova.objects import migration
from nova.objects import service
from nova.virt.libvirt import driver
from nova.virt.libvirt import guest
from nova.virt.libvirt import host
from nova.virt.libvirt import utils
from nova.virt.libvirt.storage import lvm
from oslo_privsep import priv_context


def _get(module: types.ModuleType, name: str) -> Any:
    """A name of Nova; None if this Nova lacks it, which the check reports."""
    return getattr(module, name, None)


CONF = nova.conf.CONF
LibvirtDriver: Any = driver.LibvirtDriver
Host = _get(host, 'Host')
Guest = _get(guest, 'Guest')
JobInfo = _get(guest, 'JobInfo')
ComputeManager = _get(manager, 'ComputeManager')
ComputeVirtAPI = _get(manager, 'ComputeVirtAPI')
ComputeAPI = _get(rpcapi, 'ComputeAPI')
ConductorAPI = _get(conductor_rpcapi, 'ConductorAPI')
NetworkAPI = _get(neutron, 'API')
Instance = _get(instance, 'Instance')
InstanceActionEvent = _get(instance_action, 'InstanceActionEvent')
BlockDeviceMappingList = _get(block_device, 'BlockDeviceMappingList')
Migration = _get(migration, 'Migration')
MigrationList = _get(migration, 'MigrationList')
Service = _get(service, 'Service')
NovaObject = _get(base, 'NovaObject')
NovaObjectSerializer = _get(base, 'NovaObjectSerializer')
LibvirtLiveMigrateData = _get(migrate_data, 'LibvirtLiveMigrateData')
BDMInfo = _get(migrate_data, 'LibvirtLiveMigrateBDMInfo')
NovaException = _get(nova.exception, 'NovaException')
MigrationPreCheckError = _get(nova.exception, 'MigrationPreCheckError')
MigrationError = _get(nova.exception, 'MigrationError')
InstanceNotFound = _get(nova.exception, 'InstanceNotFound')
HypervisorUnavailable = _get(nova.exception, 'HypervisorUnavailable')
InstancePowerOffFailure = _get(nova.exception, 'InstancePowerOffFailure')
InstanceFaultRollback = _get(nova.exception, 'InstanceFaultRollback')
DestinationDiskExists = _get(nova.exception, 'DestinationDiskExists')
parse_args = _get(nova.config, 'parse_args')
register_objects = _get(nova.objects, 'register_all')
root_helper = _get(nova.utils, 'get_root_helper')
get_admin_context = _get(nova.context, 'get_admin_context')
get_versioned_notifier = _get(nova.rpc, 'get_versioned_notifier')
add_instance_fault = _get(compute_utils, 'add_instance_fault_from_exc')
create_volume = _get(lvm, 'create_volume')
list_volumes = _get(lvm, 'list_volumes')
volume_group_info = _get(lvm, 'get_volume_group_info')
remove_volumes = _get(lvm, 'remove_volumes')
instance_path = _get(utils, 'get_instance_path')
MIGRATING = _get(task_states, 'MIGRATING')
DELETING = _get(task_states, 'DELETING')
REBUILD_SPAWNING = _get(task_states, 'REBUILD_SPAWNING')

#: Methods by class, each with the parameters that are relied on: the first
#: ones in order, and after ``*`` those that are passed by name.
METHODS: dict[str, dict[str, tuple[str, ...]]] = {
    'LibvirtDriver': {
        '__init__': ('virtapi', 'read_only'),
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
        'post_live_migration_at_destination': (
            *('context', 'instance', 'network_info', 'block_migration'),
            'block_device_info',
        ),
        'rollback_live_migration_at_source': (
            *('context', 'instance', 'migrate_data'),
        ),
        'spawn': ('context', 'instance', 'image_meta'),
        'destroy': ('context', 'instance', 'network_info'),
        'instance_exists': ('instance',),
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
    },
    'Host': {'get_connection': ()},
    'Guest': {
        'migrate': ('destination', '*', 'destination_xml', 'flags'),
        'is_active': (),
        'get_job_info': (),
    },
    'ComputeManager': {
        '_rollback_live_migration': (
            *('context', 'instance', 'dest'),
            *('*', 'migrate_data', 'source_bdms', 'migration_status'),
        ),
        '_post_live_migration_update_host': (
            *('ctxt', 'instance', 'dest'),
            *('*', 'migrate_data', 'source_bdms'),
        ),
        '_delete_allocation_after_move': ('context', 'instance', 'migration'),
        'rollback_live_migration_at_destination': (
            *('context', 'instance', '*', 'destroy_disks', 'migrate_data'),
        ),
        'update_available_resource': ('context', '*', 'startup'),
    },
    'ComputeAPI': {
        'check_instance_shared_storage': ('ctxt', 'data', '*', 'host'),
    },
    'ConductorAPI': {
        'object_class_action_versions': ('context', 'objname', 'objmethod'),
    },
    'NetworkAPI': {
        'migrate_instance_start': ('context', 'instance', 'migration'),
        'setup_networks_on_host': (
            *('context', 'instance', '*', 'host', 'teardown'),
        ),
        'get_instance_nw_info': ('context', 'instance'),
    },
    'Instance': {
        'get_by_uuid': ('context', 'uuid', '*', 'expected_attrs'),
        'get_network_info': (),
        'save': ('*', 'expected_task_state'),
        'obj_reset_changes': (),
    },
    'InstanceActionEvent': {
        'event_start': (
            *('context', 'instance_uuid', 'event_name'),
            *('*', 'want_result', 'host'),
        ),
    },
    'NovaObjectSerializer': {
        'serialize_entity': ('context', 'entity'),
        'deserialize_entity': ('context', 'entity'),
    },
    'BlockDeviceMappingList': {'get_by_instance_uuid': ('context',)},
    'Migration': {'save': ()},
    'MigrationList': {'get_by_filters': ('context', 'filters')},
    'Service': {'get_by_compute_host': ('context', 'host')},
}

#: Methods of LibvirtDriver that only some of the supported releases have.
OPTIONAL_METHODS = {
    'process_instances_at_startup': ('context', 'instances'),  # since Nova 34
}

#: Functions, with their parameters as above.
FUNCTIONS: dict[str, tuple[str, ...]] = {
    'parse_args': ('argv', '*', 'configure_db'),
    'register_objects': (),
    'root_helper': (),
    'get_admin_context': ('read_deleted',),
    'add_instance_fault': (
        *('context', 'instance', 'fault', 'exc_info', 'fault_message'),
    ),
    'get_versioned_notifier': ('publisher_id',),
    'create_volume': ('vg', 'lv', 'size'),
    'list_volumes': ('vg',),
    'volume_group_info': ('vg',),
    'remove_volumes': ('paths',),
    'instance_path': ('instance',),
}

#: Attributes and properties, most of which a class sets in ``__init__``.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    'LibvirtDriver': ('_host', 'virtapi'),
    'Guest': ('name',),
    'ComputeVirtAPI': ('_compute',),
    'NovaObject': ('indirection_api',),
    'ComputeManager': ('network_api',),
    # Nova's decorator hides the parameters
    'InstanceActionEvent': ('event_finish_with_failure',),
    'JobInfo': ('type', 'disk_total', 'disk_processed', 'disk_remaining'),
    'BDMInfo': ('connection_info',),
}

#: Fields of Nova's objects.
FIELDS: dict[str, tuple[str, ...]] = {
    'Instance': (
        *('uuid', 'host', 'vm_state', 'task_state', 'deleted'),
        *('ephemeral_key_uuid', 'info_cache', 'metadata', 'flavor'),
        *('system_metadata', 'numa_topology', 'pci_devices'),
        *('pci_requests', 'migration_context', 'progress'),
    ),
    'Migration': (
        *('id', 'status', 'instance_uuid', 'migration_type', 'created_at'),
        *('source_compute', 'dest_compute'),
        *('disk_total', 'disk_processed', 'disk_remaining'),
    ),
    'Service': ('forced_down',),
    'LibvirtLiveMigrateData': (
        *('migration', 'block_migration', 'bdms', 'image_type', 'filename'),
        *('is_shared_instance_path', 'is_shared_block_storage'),
        *('instance_relative_path', 'target_connect_addr'),
    ),
    'BDMInfo': (*('serial', 'bus', 'dev', 'type', 'format', 'boot_index'),),
}

#: Errors, each with the values that its message takes. They must be classes
#: of ``nova.exception`` itself: Nova's RPC carries no others.
ERRORS: dict[str, tuple[str, ...]] = {
    'NovaException': (),
    'MigrationPreCheckError': ('reason',),
    'MigrationError': ('reason',),
    'InstanceNotFound': (),
    'HypervisorUnavailable': (),
    'InstancePowerOffFailure': ('reason',),
    'InstanceFaultRollback': (),
    'DestinationDiskExists': ('path',),
}

#: Constants.
CONSTANTS = ('MIGRATING', 'DELETING', 'REBUILD_SPAWNING')

#: Options of nova.conf by group; '' is [DEFAULT].
OPTIONS: dict[str, tuple[str, ...]] = {
    '': (
        *('host', 'my_ip', 'state_path', 'instances_path'),
        *('preallocate_images', 'use_cow_images'),
    ),
    'notifications': ('notification_format',),
    'libvirt': (
        *('images_type', 'images_volume_group'),
        'live_migration_inbound_addr',
        'live_migration_with_native_tls',
    ),
}


def version() -> str:
    """The release of Nova that is installed."""
    return importlib.metadata.version('nova')


def join(files: Sequence[str]) -> None:
    """Take part in Nova's RPC, in a program that is not nova-compute.

    As ``main`` in nova/cmd/compute.py does before the service starts.

    :param files: ``--config-file`` and ``--config-dir``
    :raises cfg.Error: a file cannot be read
    """
    parse_args(['nova-compute', *files], configure_db=False)
    priv_context.init(root_helper=shlex.split(root_helper()))
    register_objects()
    NovaObject.indirection_api = ConductorAPI()


def monitor_interval() -> int:
    """Seconds between two figures of a migration; an option since Nova 34."""
    return getattr(CONF.libvirt, 'live_migration_monitor_interval', 5)


def notifies() -> bool:
    """Whether Nova sends versioned notifications.

    Nova asks in the same way (``if_notifications_enabled`` in nova/rpc.py).
    """
    bus = _get(nova.rpc, 'NOTIFIER')
    return (
        bus is not None
        and bool(bus.is_enabled())
        and CONF.notifications.notification_format in ('both', 'versioned')
    )


def images_type() -> str:
    """The type of images that Nova makes on this host.

    ``Backend`` (nova/virt/libvirt/imagebackend.py) resolves the two other
    names in this way.
    """
    known = {
        'default': 'qcow2' if CONF.use_cow_images else 'raw',
        'flat': 'raw',
    }
    wanted = str(CONF.libvirt.images_type)
    return known.get(wanted, wanted)


def reserves_images() -> bool:
    """Whether Nova reserves the space of images that are files."""
    return bool(CONF.preallocate_images == 'space')


def compute_manager(virt_driver: Any) -> Any:
    """Nova's compute manager, which has made the driver."""
    return virt_driver.virtapi._compute


def connection(virt_driver: Any) -> Any:
    """Nova's own connection to libvirt.

    :raises HypervisorUnavailable: libvirt does not answer
    """
    return virt_driver._host.get_connection()


def let_lock_reenter(virt_driver: Any) -> None:
    """Let the thread that finds libvirt gone tell Nova so.

    Nova with native threads handles a lost connection in the thread that
    notices the loss. That may be one that tests the connection, and so has the
    lock that the handler takes (``Host._get_connection`` and
    ``Host._connection_closed``). It would wait for itself, and each call that
    needs libvirt would wait for it, until nova-compute starts again.
    """
    virt_driver._host._wrapped_conn_lock = threading.RLock()
