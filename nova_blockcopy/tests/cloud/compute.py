# SPDX-License-Identifier: Apache-2.0
"""Compute hosts: nova-compute on one of the lab's hosts."""

import contextlib
import dataclasses
import os
import pathlib
import subprocess

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
#: Nova's own entries in the directory of instances.
_NOVA_OWN = ('_base', 'locks', 'compute_nodes')
_PROCESSES = ('libvirtd', 'nova-compute', 'privsep-helper', 'bindfs')
#: The mount point of a directory of instances that both hosts share.
_SHARED = hosts.STATE / 'shared'
_CONSOLES = hosts.STATE / 'consoles'
_FIRST_CONSOLE = 'console.first'
#: The value of OS_NOVA_DISABLE_EVENTLET_PATCHING by concurrency backend.
_WITHOUT_EVENTLET = {'threading': 'true', 'eventlet': 'false'}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a nova-compute.

    :param images: [libvirt] images_type: qcow2, raw or lvm
    :param driver: compute_driver
    :param shared: both hosts share one directory of instances
    :param extra: more options, which replace all others
    """

    images: str = 'qcow2'
    driver: str = DRIVER
    shared: bool = False
    extra: options.Options = dataclasses.field(default_factory=dict)


class Compute:
    """nova-compute on one host.

    :param at: the host
    :param to: the API of the cloud
    :param lab_directory: the directory of the lab
    :param logs: the directory for the log of nova-compute
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
                # the only directory that Nova's rootwrap filters allow
                'TMPDIR': '/tmp',
                **_concurrency(),
            },
        )

    def up(self, settings: Settings) -> None:
        """Prepare the host and start nova-compute; see :meth:`wait`."""
        user.add(self.host, self.volumes.commands)
        self.volumes.up()
        self.configure(settings)
        self.start()

    def configure(self, settings: Settings) -> None:
        """Write nova.conf, which nova-compute reads at the next start."""
        self._settings = settings
        # without this directory, Nova does not register the host
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
        """Start nova-compute, unless it runs."""
        self.service.start()

    def wait(self) -> None:
        """Wait until nova-compute serves and Nova's API shows it as up.

        :raises LabError: nova-compute does not get there in time
        """
        self.service.wait()
        if not waiting.until(self.known, timeout=60, interval=0.5):
            raise host.LabError(
                f'Nova does not show {self.name} as up; see {self.service.log}'
            )

    def stop(self) -> None:
        """End nova-compute as an operator does (SIGTERM)."""
        self.service.stop()

    def kill(self) -> None:
        """Kill nova-compute (SIGKILL); the guests keep running."""
        self.service.kill()

    def restart(self) -> None:
        """Stop nova-compute if it runs, start it, and wait."""
        self.stop()
        self.start()
        self.wait()

    def command(
        self, program: str, *argv: str, check: bool = True
    ) -> 'subprocess.CompletedProcess[str]':
        """Run a command of this project as the user of nova-compute.

        :param check: raise ``CalledProcessError`` if the command fails
        """
        return self.host.run(
            *('env', *self.service.variables, *user.COMMAND),
            *(service.program(program), '--config-file'),
            *(str(user.ETC / 'nova.conf'), *argv),
            check=check,
        )

    def force_down(self, *, down: bool) -> None:
        """Set or clear Nova's ``forced_down`` for the host."""
        listed = self._api.compute(
            'GET', f'/os-services?host={self.name}&binary=nova-compute'
        )
        self._api.compute(
            'PUT',
            f'/os-services/{listed["services"][0]["id"]}',
            {'forced_down': down},
        )

    def known(self) -> bool:
        """Tell whether the host is in a cell and Nova shows it as up."""
        listed = self._api.compute('GET', '/os-hypervisors/detail')
        return any(
            each['service']['host'] == self.name and each['state'] == 'up'
            for each in listed['hypervisors']
        )

    def path(self, *below: str) -> pathlib.Path:
        """Return a path outside the host below its directory of instances.

        The path leads through the mounts of the host.
        """
        if self._settings.shared:
            return self._shared.joinpath(*below)
        root = pathlib.Path(f'/proc/{self.host.pid}/root')
        return (root / self._instances.relative_to('/')).joinpath(*below)

    def consoles(self, uuid: str) -> list[pathlib.Path]:
        """Return the console files of a server on this host.

        See :meth:`part_consoles`.
        """
        if self._settings.shared:
            own = self.host.outside(_CONSOLES / uuid)
            return [self.path(uuid, _FIRST_CONSOLE), own]
        return [self.path(uuid, 'console.log')]

    def part_consoles(self, uuid: str) -> None:
        """Give a server that was booted here one console file on each host.

        QEMU truncates the console file at its start. If both hosts shared the
        file, the output on the first host would be lost.
        """
        if self._settings.shared:
            path = _SHARED / uuid
            now = str(path / 'console.log')
            self.host.run('mv', now, str(path / _FIRST_CONSOLE))
            self.host.run('ln', '--symbolic', str(_CONSOLES / uuid), now)

    def domain(self, uuid: str) -> libvirt.virDomain:
        """Return the domain of a server.

        :raises libvirtError: the domain is not defined on this host
        """
        return self.host.connect().lookupByUUIDString(uuid)

    def running(self) -> list[str]:
        """Return the ids of the servers that run here, says libvirt."""
        connection = self.host.connect()
        flag = libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING
        found = [each.UUIDString() for each in connection.listAllDomains(flag)]
        connection.close()
        return found

    def litter(self) -> list[str]:
        """Describe all that servers have left on this host."""
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
        """Return the network interfaces of servers on this host."""
        devices = self.host.run('ls', '/sys/class/net').stdout.split()
        return [name for name in devices if name.startswith('tap')]

    def _strangers(self) -> list[str]:
        """Return processes that do not belong to the host and do not end."""
        suspects = {}
        for process in self.host.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() not in _PROCESSES:
                    suspects[process] = process.name()
        # short commands of nova-compute end by themselves
        left = psutil.wait_procs(list(suspects), timeout=5)[1]
        return [suspects[process] for process in left]

    @property
    def _instances(self) -> pathlib.Path:
        if self._settings.shared:
            return _SHARED
        return hosts.STATE / 'instances'

    def _mount_shared(self) -> None:
        """Mount the directory of instances that both hosts share.

        A bind mount is not enough: libvirt migrates a guest only if the type
        of the file system below its disks is a network file system. So this
        mount has such a type, and caches no metadata.
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
                # tests suspend guests to read their disks
                'sync_power_state_interval': -1,
                'pointer_model': 'ps2mouse',
                # neutron sends no events when a port is plugged
                'vif_plugging_is_fatal': False,
                'vif_plugging_timeout': 0,
                # In seconds. Nova 34 always takes this long to end, because
                # it waits for _conn_event_thread (nova/virt/libvirt/host.py),
                # which never ends. Up to 20 s of that time are not for tasks
                # in progress.
                'manager_shutdown_timeout': 3,
                'graceful_shutdown_timeout': 15,
            },
            'workarounds': {
                # the destination of a live migration inspects the kernel and
                # takes its header for a broken partition table
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
    """Return the variables that select native threads or eventlet.

    NOVA_BLOCKCOPY_CONCURRENCY selects one of them. Without that variable,
    nova-compute uses the default of its release.

    :raises LabError: the variable names another backend
    """
    wanted = os.environ.get('NOVA_BLOCKCOPY_CONCURRENCY')
    if not wanted:
        return {}
    if wanted not in _WITHOUT_EVENTLET:
        raise host.LabError(
            f'NOVA_BLOCKCOPY_CONCURRENCY is "{wanted}"; set it to '
            f'{" or ".join(_WITHOUT_EVENTLET)}.'
        )
    return {'OS_NOVA_DISABLE_EVENTLET_PATCHING': _WITHOUT_EVENTLET[wanted]}
