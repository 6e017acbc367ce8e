# SPDX-License-Identifier: Apache-2.0
"""What the tests of the layer towards Nova share."""

import json
import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

from nova import context
from nova import objects
from nova.objects import base as nova_base
from nova.virt import virtapi  # type: ignore[attr-defined]
from nova.virt.libvirt import host
from oslo_config import fixture
from oslo_utils import netutils

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import driver
from nova_blockcopy.nova import figures
from nova_blockcopy.nova import reconcile
from nova_blockcopy.nova import service
from nova_blockcopy.records import journal
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

objects.register_all()

HERE = 'host-a'
THERE = 'host-b'
VOLUME = '22222222-2222-3333-4444-555555555555'


def endpoint_of(address: str) -> model.Endpoint:
    host = netutils.escape_ipv6(address)
    return model.Endpoint(uri=f'qemu+tcp://{host}/system')


class TestCase(base.TestCase):
    """A test on host-a, whose nova.conf and files are its own."""

    def setUp(self):
        super().setUp()
        self.conf = self.useFixture(fixture.Config(compat.CONF))
        compat.CONF(
            [],
            project='nova',
            default_config_files=[],
            default_config_dirs=[],
        )
        self.instances = self.directory / 'instances'
        self.instances.mkdir()
        self.conf.config(
            host=HERE,
            my_ip='192.0.2.1',
            state_path=str(self.directory),
            instances_path=str(self.instances),
        )
        self.conf.config(
            group='libvirt', virt_type='qemu', images_type='qcow2'
        )
        self.conf.config(
            group='blockcopy', poll_interval=0.05, allow_plaintext=True
        )
        #: Deleted instances that a service had the rest removed of.
        self.cleared: list[str] = []
        self.context = context.get_admin_context()
        self.instance = instance()

    def use_volumes(self, group: str = 'here') -> None:
        self.conf.config(
            group='libvirt', images_type='lvm', images_volume_group=group
        )

    def service(
        self,
        connection: fakes.Connection | None = None,
        endpoint: Callable[[str], model.Endpoint] = endpoint_of,
    ) -> service.Service:
        known = connection or fakes.Connection()
        return service.Service(
            HERE,
            lambda: known,
            'qemu:///system',
            self.cleared.append,
            endpoint,
        )

    def make_driver(self, connection: fakes.Connection | None = None) -> Any:
        """The real driver, as if ``init_host`` had been called."""
        made = driver.BlockCopyLibvirtDriver(virtapi.VirtAPI())
        made._host = mock.create_autospec(host.Host, instance=True)
        made._service = self.service(connection, made._endpoint)
        made._reconciler = mock.create_autospec(
            reconcile.Reconciler, instance=True
        )
        made._unsettled = set()
        return made

    def fake(self, target: Any, name: str, **kwargs: Any) -> Any:
        patcher = mock.patch.object(target, name, autospec=True, **kwargs)
        self.addCleanup(patcher.stop)
        return patcher.start()

    def wait_for_figures(self) -> None:
        """Wait until all figures of live migrations are saved."""
        for thread in threading.enumerate():
            if thread.name == figures.SAVER:
                thread.join(30)

    def hide_events(self) -> None:
        """Have Nova's database without the events of actions."""
        for name in ('event_start', 'event_finish_with_failure'):
            self.fake(compat.InstanceActionEvent, name)

    def fake_nova(self, name: str, **kwargs: Any) -> Any:
        """Put something in place of a method of Nova's own driver."""
        return self.fake(compat.LibvirtDriver, name, **kwargs)

    def assert_refused(self, kind: Any, *words: str, call: Any) -> str:
        """It raises this class of Nova's, none derived from it.

        Only classes that are in ``nova.exception`` cross Nova's RPC.
        """
        error = self.assertRaises(kind, call)
        self.assertIs(kind, type(error))
        for word in words:
            self.assertIn(word, str(error))
        return str(error)


def instance(**values: Any) -> Any:
    known = {
        'id': 1,
        'uuid': samples.UUID,
        'host': HERE,
        'vm_state': 'active',
        'task_state': 'migrating',
        'display_name': 'guest',
        'image_ref': '',
        'kernel_id': '',
        'ramdisk_id': '',
        'ephemeral_key_uuid': None,
        'numa_topology': None,
        'migration_context': None,
        'resources': None,
        'trusted_certs': None,
        'system_metadata': {},
        'old_flavor': None,
        'new_flavor': None,
        'flavor': objects.Flavor(
            memory_mb=64, root_gb=1, ephemeral_gb=0, swap=0, extra_specs={}
        ),
    }
    return objects.Instance(**{**known, **values})


def record(
    role: model.Role = model.Role.SOURCE,
    state: states.State = states.State.PREPARING,
    **values: Any,
) -> journal.Record:
    known = {
        'migration': 'm1',
        'guest': samples.UUID,
        'name': 'guest',
        'role': role,
        'mode': model.Mode.SEEDED,
        'peer': THERE,
        'state': state,
        'home': model.Endpoint(uri='qemu+tcp://host-a/system'),
    }
    return journal.Record(**{**known, **values})


def migrate_data(**values: Any) -> Any:
    """As Nova has it when both hosts have checked the migration."""
    known = {
        'block_migration': True,
        'is_shared_instance_path': False,
        'is_shared_block_storage': False,
        'instance_relative_path': samples.UUID,
        'image_type': 'qcow2',
        'filename': 'tmpfile',
        'migration': objects.Migration(id=1, status='running'),
        'serial_listen_addr': None,
        'serial_listen_ports': [],
        'graphics_listen_addr_vnc': '127.0.0.1',
        'graphics_listen_addr_spice': '127.0.0.1',
        'supported_perf_events': [],
    }
    return objects.LibvirtLiveMigrateData(**{**known, **values})


def disk_info(
    path: str, type_: str = 'raw', backing: str = ''
) -> dict[str, Any]:
    """An entry of Nova's disk info."""
    return {
        'type': type_,
        'path': path,
        'virt_disk_size': 1024,
        'backing_file': backing,
        'disk_size': 1024,
        'over_committed_disk_size': 0,
    }


def volume_entry() -> Any:
    """What Nova says of a volume of Cinder."""
    entry = objects.LibvirtLiveMigrateBDMInfo(
        serial=VOLUME, bus='virtio', dev='vdb', type='disk', boot_index=None
    )
    entry.connection_info = {'serial': VOLUME, 'data': {'device_path': '/x'}}
    return entry


def travelled(thing: Any) -> Any:
    """A Nova object as it arrives at another service."""
    serializer = nova_base.NovaObjectSerializer()
    sent = serializer.serialize_entity(context.get_admin_context(), thing)
    return serializer.deserialize_entity(
        context.get_admin_context(), json.loads(json.dumps(sent))
    )
