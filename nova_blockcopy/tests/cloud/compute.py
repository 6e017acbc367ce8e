#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""A compute host: nova-compute on one of the lab's hosts."""

import contextlib
import dataclasses
import pathlib

import libvirt
import psutil

from nova_blockcopy import waiting
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
_PROCESSES = ('libvirtd', 'nova-compute', 'privsep-helper')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a nova-compute is configured.

    :param images: libvirt's images_type: qcow2, raw or lvm
    :param driver: compute_driver
    :param extra: any other options, which win
    """

    images: str = 'qcow2'
    driver: str = DRIVER
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
        self._api = to
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
            },
        )

    def up(self, settings: Settings) -> None:
        """Make what it needs, and start it; ``wait`` tells when it serves."""
        # without it, Nova does not enter the host
        self.path().mkdir(parents=True)
        user.own(self.path(), self.path().parent)
        user.add(self.host, self.volumes.commands)
        self.volumes.up()
        self.configure(settings)
        self.start()

    def configure(self, settings: Settings) -> None:
        """Write its configuration, which it reads when it starts."""
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

    def known(self) -> bool:
        """Whether Nova can use it: it is in a cell, and not silent."""
        listed = self._api.compute('GET', '/os-hypervisors/detail')
        return any(
            each['service']['host'] == self.name and each['state'] == 'up'
            for each in listed['hypervisors']
        )

    def path(self, *below: str) -> pathlib.Path:
        """Below its directory of instances, as named outside."""
        return self.host.outside(hosts.STATE / 'instances').joinpath(*below)

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
        return [f'{each} on {self.name}' for each in found]

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

    def _options(self, settings: Settings) -> options.Options:
        return {
            'DEFAULT': {
                'host': self.name,
                'my_ip': self.host.address,
                'state_path': hosts.STATE,
                'compute_driver': settings.driver,
                'reserved_host_memory_mb': 512,
                'reserved_host_disk_mb': 0,
                'default_ephemeral_format': 'ext4',
                # a guest that is suspended to look at its disks is ours
                'sync_power_state_interval': -1,
                'pointer_model': 'ps2mouse',
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
