# SPDX-License-Identifier: Apache-2.0
"""A compute host: nova-compute on one of the lab's hosts."""

import contextlib
import dataclasses
import os
import pathlib

import libvirt
import psutil

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import api
from nova_blockcopy.tests.cloud import control
from nova_blockcopy.tests.cloud import hosts
from nova_blockcopy.tests.cloud import lvm
from nova_blockcopy.tests.cloud import options
from nova_blockcopy.tests.cloud import service
from nova_blockcopy.tests.cloud import user
from nova_blockcopy.tests.lab import host

DRIVER = 'libvirt.LibvirtDriver'
IMAGES = ('qcow2', 'raw', 'lvm')
#: Of Nova's, in its directory of instances, beside those of the instances.
_NOVA_OWN = ('_base', 'locks', 'compute_nodes')
_PROCESSES = ('libvirtd', 'nova-compute', 'privsep-helper', 'bindfs')
#: Where the directory of instances that both hosts share is mounted.
_SHARED = hosts.STATE / 'shared'
_CONSOLES = hosts.STATE / 'consoles'
_FIRST_CONSOLE = 'console.first'
#: By Nova's name of a concurrency backend, whether it is not eventlet.
_WITHOUT_EVENTLET = {'threading': 'true', 'eventlet': 'false'}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a nova-compute is configured.

    :param images: libvirt's images_type: qcow2, raw or lvm
    :param driver: compute_driver
    :param shared: both have one directory of instances
    :param extra: any other options, which win
    """

    images: str = 'qcow2'
    driver: str = DRIVER
    shared: bool = False
    extra: options.Options = dataclasses.field(default_factory=dict)


class Compute:
    """nova-compute on one host.

    :param at: the host
    :param to: the API, which tells what Nova thinks of it
    :param lab_directory: of the lab
    :param logs: the directory of its log
    """

    def __init__(
        self,
        at: host.Host,
        to: api.Api,
        *,
        lab_directory: pathlib.Path,
        logs: pathlib.Path,
    ) -> None:
        self.host = at
        self.name = at.hostname
        self.volumes = lvm.Volumes(at, lab_directory)
        self.state = at.outside(hosts.STATE)
        self._api = to
        self._settings = Settings()
        self._shared = lab_directory / 'instances'
        self.service = service.Service(
            name='nova-compute',
            at=at,
            argv=(
                *(*user.COMMAND, service.program('nova-compute'), '--debug'),
                *('--config-file', str(user.ETC / 'nova.conf')),
            ),
            log=logs / f'nova-compute-{at.name}.log',
            answers=service.says(control.NOVA_SERVES),
            environment={
                'HOME': str(hosts.STATE),
                'PATH': service.search_path(),
                # the only place that Nova's filters allow
                'TMPDIR': '/tmp',
                **_concurrency(),
            },
        )

    def up(self, settings: Settings) -> None:
        """Make what it needs, and start it; ``wait`` tells when it serves."""
        user.add(self.host, self.volumes.commands)
        self.volumes.up()
        self.configure(settings)
        self.start()

    def configure(self, settings: Settings) -> None:
        """Write its configuration, which it reads when it starts."""
        self._settings = settings
        # without it, Nova does not enter the host
        self.path().mkdir(parents=True, exist_ok=True)
        user.own(self.path(), self.path().parent)
        if settings.shared:
            self._mount_shared()
        options.write(
            self.host.outside(user.ETC / 'nova.conf'),
            control.nova(),
            self._options(settings),
            settings.extra,
        )

    def start(self) -> None:
        self.service.start()

    def wait(self) -> None:
        """Wait until it serves, and Nova knows that it does."""
        self.service.wait()
        if not waiting.until(self.known, timeout=60, interval=0.5):
            raise host.LabError(
                f'Nova does not take {self.name} as up; see {self.service.log}'
            )

    def stop(self) -> None:
        """End it as an operator does (SIGTERM)."""
        self.service.stop()

    def kill(self) -> None:
        """End it as a power cut does (SIGKILL); its guests go on."""
        self.service.kill()

    def restart(self) -> None:
        """Stop it if it runs, start it, and wait."""
        self.stop()
        self.start()
        self.wait()

    def force_down(self, *, down: bool) -> None:
        """Tell Nova that the host is down, whatever it looks like; or not."""
        listed = self._api.compute(
            'GET', f'/os-services?host={self.name}&binary=nova-compute'
        )
        self._api.compute(
            'PUT',
            f'/os-services/{listed["services"][0]["id"]}',
            {'forced_down': down},
        )

    def known(self) -> bool:
        """Whether Nova can use it: it is in a cell, and not silent."""
        listed = self._api.compute('GET', '/os-hypervisors/detail')
        return any(
            each['service']['host'] == self.name and each['state'] == 'up'
            for each in listed['hypervisors']
        )

    def path(self, *below: str) -> pathlib.Path:
        """Below its directory of instances, as named outside.

        Whatever is mounted there for the host is seen.
        """
        if self._settings.shared:
            return self._shared.joinpath(*below)
        root = pathlib.Path(f'/proc/{self.host.pid}/root')
        return (root / self._instances.relative_to('/')).joinpath(*below)

    def consoles(self, uuid: str) -> list[pathlib.Path]:
        """What a server says on this host; see :meth:`part_consoles`."""
        if self._settings.shared:
            own = self.host.outside(_CONSOLES / uuid)
            return [self.path(uuid, _FIRST_CONSOLE), own]
        return [self.path(uuid, 'console.log')]

    def part_consoles(self, uuid: str) -> None:
        """Let a server that was booted here have one console on each host.

        QEMU empties a file that it is to write to, so what was said on one
        host would be lost if both shared it.
        """
        if self._settings.shared:
            path = _SHARED / uuid
            now = str(path / 'console.log')
            self.host.run('mv', now, str(path / _FIRST_CONSOLE))
            self.host.run('ln', '--symbolic', str(_CONSOLES / uuid), now)

    def domain(self, uuid: str) -> libvirt.virDomain:
        """The domain of a server.

        :raises libvirtError: it is not here
        """
        return self.host.connect().lookupByUUIDString(uuid)

    def running(self) -> list[str]:
        """The ids of the servers whose guests run here, as libvirt has it."""
        connection = self.host.connect()
        flag = libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING
        found = [each.UUIDString() for each in connection.listAllDomains(flag)]
        connection.close()
        return found

    def litter(self) -> list[str]:
        """What is on this host although no server is, in words."""
        connection = self.host.connect()
        names = [each.name() for each in connection.listAllDomains()]
        connection.close()
        found = [f'domain {name}' for name in names]
        found += [f'volume {name}' for name in self.volumes.names()]
        found += [
            f'{entry.name} among the instances'
            for entry in self.path().iterdir()
            if entry.name not in _NOVA_OWN
        ]
        found += [f'process {name}' for name in self._strangers()]
        found += [f'interface {name}' for name in self._taps()]
        return [f'{each} on {self.name}' for each in found]

    def _taps(self) -> list[str]:
        """The interfaces of servers; a host sees its own only."""
        devices = self.host.run('ls', '/sys/class/net').stdout.split()
        return [name for name in devices if name.startswith('tap')]

    def _strangers(self) -> list[str]:
        """Processes that are not of the host itself, and stay."""
        suspects = {}
        for process in self.host.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() not in _PROCESSES:
                    suspects[process] = process.name()
        # the commands that nova-compute looks around with end by themselves
        left = psutil.wait_procs(list(suspects), timeout=5)[1]
        return [suspects[process] for process in left]

    @property
    def _instances(self) -> pathlib.Path:
        if self._settings.shared:
            return _SHARED
        return hosts.STATE / 'instances'

    def _mount_shared(self) -> None:
        """Mount the directory that both share.

        A bind mount would not do: libvirt does not migrate a guest whose disks
        are not on a network file system, and goes by its type. So this one
        has the type of one, and caches no more than one may.
        """
        for each in (_SHARED, _CONSOLES):
            self.host.outside(each).mkdir(exist_ok=True)
        if not os.path.ismount(f'/proc/{self.host.pid}/root{_SHARED}'):
            self.host.run(
                *('bindfs', '-o', 'subtype=glusterfs'),
                *('-o', 'attr_timeout=0,entry_timeout=0,negative_timeout=0'),
                *(str(self._shared), str(_SHARED)),
            )

    def _options(self, settings: Settings) -> options.Options:
        return {
            'DEFAULT': {
                'host': self.name,
                'my_ip': self.host.address,
                'state_path': hosts.STATE,
                'instances_path': self._instances,
                'compute_driver': settings.driver,
                'reserved_host_memory_mb': 512,
                'reserved_host_disk_mb': 0,
                'default_ephemeral_format': 'ext4',
                # a guest that is suspended to look at its disks is ours
                'sync_power_state_interval': -1,
                'pointer_model': 'ps2mouse',
                # nobody tells when a port is plugged
                'vif_plugging_is_fatal': False,
                'vif_plugging_timeout': 0,
                # seconds. Nova 34 always takes this long to end: it waits for
                # _conn_event_thread (nova/virt/libvirt/host.py), which is a
                # loop. Up to 20 s of it are not for tasks in progress.
                'manager_shutdown_timeout': 3,
                'graceful_shutdown_timeout': 15,
            },
            'workarounds': {
                # the destination of a live migration inspects the kernel,
                # which looks like a broken partition table to it
                'disable_deep_image_inspection': True,
            },
            'libvirt': {
                'virt_type': 'qemu',
                'cpu_mode': 'none',
                'images_type': settings.images,
                'images_volume_group': self.volumes.group,
                'volume_clear': 'none',
                'live_migration_scheme': 'tcp',
                'live_migration_inbound_addr': self.host.address,
            },
            'blockcopy': {
                'allow_plaintext': True,
                'export_tls_dir': self.host.certificates,
            },
            'oslo_concurrency': {'lock_path': hosts.STATE / 'lock'},
        }


def _concurrency() -> dict[str, str]:
    """What has nova-compute use native threads, or eventlet.

    It is as NOVA_BLOCKCOPY_CONCURRENCY says, else as its release likes.

    :raises LabError: it is neither
    """
    wanted = os.environ.get('NOVA_BLOCKCOPY_CONCURRENCY')
    if not wanted:
        return {}
    if wanted not in _WITHOUT_EVENTLET:
        raise host.LabError(
            f'NOVA_BLOCKCOPY_CONCURRENCY is "{wanted}", not '
            f'{" or ".join(_WITHOUT_EVENTLET)}.'
        )
    return {'OS_NOVA_DISABLE_EVENTLET_PATCHING': _WITHOUT_EVENTLET[wanted]}
