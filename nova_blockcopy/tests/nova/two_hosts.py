# SPDX-License-Identifier: Apache-2.0
"""Two nova-computes in one process, either of which can be killed.

The compute managers are Nova's own, and so are the methods that end a live
migration. The drivers and the journals are ours. Around them is as little as
those methods need: a database, Neutron, Cinder, placement and the RPC.
"""

import contextlib
import copy
import functools
import json
import types
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import fixtures
import oslo_messaging
from nova import exception_wrapper  # type: ignore[attr-defined]
from nova import objects
from nova.compute import manager
from nova.compute import utils as compute_utils
from oslo_log import log as logging

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import reconcile
from nova_blockcopy.nova import settings
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import migrations
from nova_blockcopy.tests.nova import novas_database
from nova_blockcopy.tests.nova import parts
from nova_blockcopy.tests.unit import samples

LOG = logging.getLogger(__name__)

#: The attachments of the volume, by host.
ATTACHMENTS = {
    base.HERE: '44444444-2222-3333-4444-555555555555',
    base.THERE: '55555555-2222-3333-4444-555555555555',
}
Role = model.Role


class Killed(BaseException):
    """A process has been killed. Nothing that it tries has an effect."""


class Reconciler(reconcile.Reconciler):
    """Tries once and at once, so that the thread of a test can be killed."""

    def go_on(self, guests: Iterable[str]) -> None:
        list(guests)  # each of them is an attempt

    @staticmethod
    def _start(work: Callable[[], None]) -> None:
        work()


class Process:
    """One nova-compute, from its start until it is killed."""

    def __init__(self, world: 'TwoHostsTestCase', host: str) -> None:
        self.host = host
        self.alive = True
        self.driver = world.new_driver(host)
        self.manager = made = manager.ComputeManager.__new__(
            manager.ComputeManager
        )
        made.host = host
        made.driver = self.driver
        made.network_api = parts.Neutron(world)
        made.volume_api = parts.Cinder(world)
        made.reportclient = parts.Placement(world)
        made.compute_rpcapi = parts.Rpc(world)
        made.rt = parts.Nothing()
        made.instance_events = parts.Nothing()
        self.driver.virtapi._compute = made
        self.driver._reconciler = Reconciler(self.driver._service, made)


class TwoHostsTestCase(base.TestCase):
    """An instance with a local disk and a volume leaves host-a for host-b."""

    def setUp(self):
        super().setUp()
        self.acting: Process | None = None
        self.casts: list[Any] = []
        #: Whether Nova's conductor is gone.
        self.silent = False
        self.drivers: dict[str, Any] = {}
        # the process is killed, not the machine
        self.useFixture(fixtures.MonkeyPatch('os.fsync', lambda _file: None))
        read = functools.lru_cache(settings.read)
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{settings.__name__}.read',
                lambda uri: read(uri + compat.CONF.blockcopy.journal_dir),
            )
        )
        self.database = novas_database.Database(self)
        self._patch_nova()
        self._patch_objects()
        self.hide_events()
        self._patch_driver()
        self.begin()

    def begin(self) -> None:
        """All is as when the engine has switched the guest over."""
        for home in ('a', 'b'):
            for path in (self.directory / home).rglob('*.json'):
                path.unlink()
        self.casts.clear()
        self.cloud: dict[str, Any] = {
            'instance': {
                'host': base.HERE,
                'node': f'node-{base.HERE}',
                'vm_state': 'active',
                'task_state': 'migrating',
            },
            'migration': 'running',
            'bindings': {base.HERE: 'INACTIVE', base.THERE: 'ACTIVE'},
            # Nova's record names the attachment of the destination
            'volume': {
                'attachment_id': ATTACHMENTS[base.THERE],
                'connection_info': json.dumps({'on': base.THERE}),
            },
            'attachments': {ATTACHMENTS[base.HERE], ATTACHMENTS[base.THERE]},
            'connected': {base.HERE, base.THERE},
            'allocations': {
                novas_database.MIGRATION: {base.HERE: 1},
                samples.UUID: {base.THERE: 1},
            },
            'disks': {base.HERE, base.THERE},
        }
        self.processes = {
            host: Process(self, host) for host in (base.HERE, base.THERE)
        }

    # -- the processes ---------------------------------------------------

    @contextlib.contextmanager
    def acts(self, process: Process) -> Iterator[None]:
        before, self.acting = self.acting, process
        self.conf.config(host=process.host)
        try:
            yield
        finally:
            self.acting = before
            if before is not None:
                self.conf.config(host=before.host)

    def check_alive(self) -> None:
        """Pass if the acting process gets an answer."""
        if self.silent:
            raise oslo_messaging.MessagingTimeout('no conductor')
        if self.acting is not None and not self.acting.alive:
            raise Killed

    def kill(self) -> None:
        assert self.acting is not None
        self.acting.alive = False
        raise Killed

    def call(self, host: str, work: Any) -> Any:
        """Have another process do something, as Nova's RPC does."""
        self.check_alive()
        other = self.processes[host]
        if not other.alive:
            raise oslo_messaging.MessagingTimeout('no answer')
        try:
            with self.acts(other):
                return work(other)
        except Killed:
            self.check_alive()
            raise oslo_messaging.MessagingTimeout('no answer') from None

    def deliver(self) -> None:
        """Deliver the casts to the processes that are there."""
        waiting, self.casts = self.casts, []
        for host, work in waiting:
            other = self.processes[host]
            if other.alive:
                try:
                    with self.acts(other):
                        work(other)
                except Killed:
                    pass
                except Exception:  # nobody waits for an answer
                    LOG.exception('A message cannot be handled.')
            else:
                self.casts.append((host, work))

    def restart(self, host: str) -> None:
        self.processes[host] = Process(self, host)
        self.settle(host)

    def settle(self, host: str) -> None:
        process = self.processes[host]
        if process.alive:
            with contextlib.suppress(Killed), self.acts(process):
                process.driver._reconciler.run()

    # -- the migration ---------------------------------------------------

    def migrate(self, outcome: Role, *, aborted: bool = False) -> None:
        """End a live migration, as ``_do_live_migration`` does."""
        self.outcome, self.aborted = outcome, aborted
        process = self.processes[base.HERE]
        with contextlib.suppress(Killed), self.acts(process):
            self._migrate(process)
        self.deliver()

    def _migrate(self, process: Process) -> None:
        instance = self.database.found_instance(self.context, samples.UUID)
        devices = self.database.found_devices(self.context, samples.UUID)
        devices[0].attachment_id = ATTACHMENTS[base.HERE]
        devices[0].connection_info = json.dumps({'on': base.HERE})
        (migration,) = self.database.found_migrations(self.context, {})
        data = base.migrate_data(bdms=[], migration=migration)
        handshake.write(data, handshake.Terms(agreed=True))
        made = process.manager
        try:
            process.driver.live_migration(
                self.context,
                instance,
                base.THERE,
                functools.partial(
                    made._post_live_migration_update_host, source_bdms=devices
                ),
                functools.partial(
                    made._rollback_live_migration, source_bdms=devices
                ),
                True,
                data,
            )
        except Exception:
            LOG.exception('Live migration failed.')
            with contextlib.suppress(oslo_messaging.MessagingTimeout):
                made._set_migration_status(migration, 'error')
                self.cloud['instance'].update(
                    vm_state='error', task_state=None
                )

    def _live_migration(
        self, driver, context, instance, dest, post, recover, block, data
    ):
        """Nova's monitor at the end of the engine."""
        current = driver._live_migrations[instance.uuid]
        current._migration = migrations.ending()
        for role, host in ((Role.SOURCE, dest), (Role.DESTINATION, base.HERE)):
            process = self.processes[base.HERE if host == dest else dest]
            request = driver._request(current, instance, dest, data)
            process.driver._service.journal.open(
                base.record(
                    role,
                    states.State.SETTLED,
                    peer=host,
                    authority=self.outcome,
                    held=True,
                    aborted=self.aborted,
                    memo=request.memo if role is Role.SOURCE else {},
                    history=(),
                )
            )
        if self.outcome is Role.DESTINATION:
            post(context, instance, dest, block, data)
        else:
            status = 'cancelled' if self.aborted else 'failed'
            recover(context, instance, dest, data, migration_status=status)

    def new_driver(self, host: str) -> Any:
        """The driver of a host, which has just been started."""
        home = self.directory / host[-1]
        self.conf.config(group='blockcopy', journal_dir=str(home))
        self.conf.config(host=host)
        if host not in self.drivers:
            self.drivers[host] = self.make_driver()
        driver = self.drivers[host]
        driver._live_migrations = {}
        driver._service = self.service()
        return driver

    def journals(self) -> list[str]:
        return [
            f'{home.name}/{path.name}'
            for home in (self.directory / 'a', self.directory / 'b')
            for path in home.rglob('*.json')
        ]

    def picture(self) -> dict[str, Any]:
        """All that Nova has recorded, and what is left on the hosts."""
        return copy.deepcopy({**self.cloud, 'journals': self.journals()})

    def disconnect(self, host: str, connection_info: str) -> None:
        self.check_alive()
        if json.loads(connection_info)['on'] == host:
            self.cloud['connected'].discard(host)

    # -- what Nova is without --------------------------------------------

    def _patch_objects(self) -> None:
        known = self.database
        for kind, name, effect in (
            (objects.Instance, 'get_by_uuid', known.found_instance),
            (objects.Instance, 'save', known.save_instance),
            (
                objects.MigrationList,
                'get_by_filters',
                known.found_migrations,
            ),
            (objects.Migration, 'save', known.save_migration),
            (
                objects.BlockDeviceMappingList,
                'get_by_instance_uuid',
                known.found_devices,
            ),
            (objects.BlockDeviceMapping, 'save', known.save_device),
        ):
            self.fake(kind, name, side_effect=effect)
        self.fake(
            objects.InstancePCIRequests,
            'get_by_instance_uuid',
            return_value=objects.InstancePCIRequests(requests=[]),
        )
        self.fake(compat, 'ComputeAPI', side_effect=lambda: parts.Rpc(self))

    def _patch_nova(self) -> None:
        for name, value in {
            '_notify_about_instance_usage': None,
            '_update_scheduler_instance_info': None,
            '_clean_instance_console_tokens': None,
            'update_available_resource': None,
            '_get_power_state': 1,
            '_get_compute_info': types.SimpleNamespace(
                hypervisor_hostname=f'node-{base.THERE}', id=2
            ),
            '_end_pending_dest_live_migration_task': None,
        }.items():
            if hasattr(manager.ComputeManager, name):
                self.fake(manager.ComputeManager, name, return_value=value)
        self.fake(
            manager.ComputeManager,
            '_get_instance_block_device_info',
            side_effect=self._block_device_info,
        )
        for module, name in (
            (compute_utils, 'notify_about_instance_action'),
            (compute_utils, 'add_instance_fault_from_exc'),
            (exception_wrapper, '_emit_legacy_exception_notification'),
            (exception_wrapper, '_emit_versioned_exception_notification'),
        ):
            self.fake(module, name)
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{compute_utils.__name__}.EventReporter',
                lambda *_arguments, **_more: contextlib.nullcontext(),
            )
        )

    def _block_device_info(self, _manager, context, instance, bdms=None):
        devices = bdms or self.database.found_devices(context, instance.uuid)
        return {
            'block_device_mapping': [
                {'connection_info': each.connection_info} for each in devices
            ]
        }

    def _patch_driver(self) -> None:
        self.fake_nova('live_migration', side_effect=self._live_migration)
        for name, effect in (
            ('post_live_migration', self._disconnected),
            ('cleanup', self._removed),
            ('rollback_live_migration_at_destination', self._removed),
        ):
            self.fake_nova(name, side_effect=effect)
        for name in (
            'post_live_migration_at_source',
            'post_live_migration_at_destination',
            'rollback_live_migration_at_source',
        ):
            self.fake_nova(name)

    def _disconnected(self, driver, context, instance, info, data):
        for each in info['block_device_mapping']:
            self.disconnect(
                driver.virtapi._compute.host, each['connection_info']
            )

    def _removed(self, driver, *_arguments, **_more):
        self.check_alive()
        self.cloud['disks'].discard(driver.virtapi._compute.host)
