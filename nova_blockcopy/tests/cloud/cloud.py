# SPDX-License-Identifier: Apache-2.0
"""The whole cloud: the control plane and both compute hosts."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
from typing import Any

import psutil

from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud import control
from nova_blockcopy.tests.cloud import hosts
from nova_blockcopy.tests.cloud import image
from nova_blockcopy.tests.cloud import network
from nova_blockcopy.tests.cloud import options
from nova_blockcopy.tests.cloud import server
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import kernel
from nova_blockcopy.tests.lab import lab
from nova_blockcopy.tests.lab import root

NAME = 'cloud'
_OWNER = 'cloud-owner'
_PROGRAMS = {
    'mariadbd': 'mariadb-server-core',
    'mariadb-install-db': 'mariadb-server-core',
    'mariadb': 'mariadb-client-core',
    'bindfs': 'bindfs',
    'genisoimage': 'genisoimage',
    'prometheus': 'prometheus',
    'prometheus-node-exporter': 'prometheus-node-exporter',
    'mkfs.ext4': 'e2fsprogs',
    'mkswap': 'util-linux',
    'setpriv': 'util-linux',
    'sudo': 'sudo',
}


class Cloud:
    """A control plane, and the compute hosts ``a`` and ``b``.

    :param name: unique on the machine
    """

    def __init__(self, name: str = NAME) -> None:
        self.name = name
        self.hosts = hosts.Hosts(name)
        self.directory = self.hosts.directory
        self.control = control.Control(self.hosts.control)
        self.api = self.control.api
        self.a, self.b = self.computes = [
            compute.Compute(
                each,
                self.api,
                lab_directory=self.directory,
                logs=self.control.logs,
            )
            for each in self.hosts.hosts
        ]

    def up(
        self,
        settings: compute.Settings | None = None,
        *,
        owned: bool = True,
    ) -> None:
        """Start the cloud; a failure ends the cloud again.

        :param settings: settings of the computes; None for the defaults
        :param owned: the cloud belongs to this process, so a sweep ends the
            cloud after the end of this process
        :raises LabError: the cloud cannot run on this machine
        """
        lacking = missing()
        if lacking:
            raise host.LabError('\n'.join(lacking))
        self.hosts.up(owned=False)
        try:
            if owned:
                (self.directory / _OWNER).write_text(_start(os.getpid()))
            with concurrent.futures.ThreadPoolExecutor() as pool:
                libvirt = pool.submit(self.hosts.wait_for_libvirtd)
                self.control.start()
                libvirt.result()
                wanted = settings or compute.Settings()
                self._remember(wanted)
                for each in self.computes:
                    each.up(wanted)
                pending = [
                    *(pool.submit(each.wait) for each in self.computes),
                    pool.submit(self._prepare),
                ]
                for one in pending:
                    one.result()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End the cloud in any state, and remove all files and devices."""
        self.hosts.end_processes()
        for each in self.computes:
            each.volumes.down()
        self.hosts.down()

    @property
    def is_up(self) -> bool:
        """Tell whether the cloud exists."""
        return self.directory.exists()

    @property
    def settings(self) -> compute.Settings:
        """The settings of the computes."""
        found = json.loads((self.directory / 'settings').read_text())
        return compute.Settings(**found)

    def reconfigure(
        self,
        *,
        images: str | None = None,
        driver: str | None = None,
        **groups: dict[str, Any],
    ) -> None:
        """Restart the computes with some settings changed.

        :param images: [libvirt] images_type; None = no change
        :param driver: compute_driver; None = no change
        :param groups: more options by group, in place of earlier ones,
            such as ``libvirt={'live_migration_timeout_action': 'abort'}``
        :raises LabError: existing servers have disks of another type
        """
        before = self.settings
        self.configure(
            compute.Settings(
                images=images or before.images,
                driver=driver or before.driver,
                shared=before.shared,
                extra=groups,
            )
        )

    def configure(self, settings: compute.Settings) -> None:
        """Restart the computes with these settings.

        :raises LabError: existing servers have disks of another type
        """
        before = self.settings
        where = (settings.images, settings.shared)
        if where != (before.images, before.shared) and self.servers():
            raise host.LabError(
                'The type and the directory of images can change only while '
                'no servers exist; delete all servers first.'
            )
        self._remember(settings)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(
                pool.map(
                    lambda each: _renew(each, settings),
                    self.computes,
                )
            )

    def boot(
        self,
        at: compute.Compute,
        *,
        name: str = 'guest',
        writes: image.Writes | None = None,
        from_volume: bool = False,
        networked: bool = True,
    ) -> server.Server:
        """Boot a server on a compute; see :func:`server.boot`."""
        if from_volume:
            self.control.start_volumes()
        return server.boot(
            *(self.api, self.computes, at),
            name=name,
            writes=writes,
            from_volume=from_volume,
            networked=networked,
        )

    def servers(self) -> list[str]:
        """Return the ids of all servers."""
        listed = self.api.compute('GET', '/servers')
        return [each['id'] for each in listed['servers']]

    def litter(self) -> list[str]:
        """Describe all that servers have left on the computes."""
        return [found for each in self.computes for found in each.litter()]

    def _prepare(self) -> None:
        """Create the image, the flavor and the network for servers."""
        # downloaded here, because the control host cannot reach any mirror
        kernel.initramfs()
        self.control.wait()
        self.api.call(lambda to: image.ensure(to, image.Writes()))
        self.api.call(image.flavor)
        self.api.call(network.ensure)

    def _remember(self, settings: compute.Settings) -> None:
        values = {
            'images': settings.images,
            'driver': settings.driver,
            'shared': settings.shared,
            'extra': options.merge(settings.extra),
        }
        (self.directory / 'settings').write_text(
            json.dumps(values, default=str)
        )


def _renew(each: compute.Compute, settings: compute.Settings) -> None:
    each.configure(settings)
    each.restart()


def missing() -> list[str]:
    """Describe in sentences all that this machine lacks for a cloud."""
    found = lab.missing()
    if root.chosen():
        found.append(
            f'A root lacks programs that the hosts of a cloud need; unset '
            f'{root.VARIABLE}.'
        )
    found += [
        f'"{program}" is not installed; install package {package} '
        f'(see bindep.txt).'
        for program, package in _PROGRAMS.items()
        if shutil.which(program) is None
    ]
    if not control.RABBITMQ.exists():
        found.append(
            f'{control.RABBITMQ} does not exist; install package '
            f'rabbitmq-server (see bindep.txt).'
        )
    return found


def sweep() -> list[str]:
    """End the clouds whose owners are dead, and return their names."""
    swept = []
    for owner in pathlib.Path(lab.BASE).glob(f'*/{_OWNER}'):
        about = owner.read_text()
        if about != _start(int(about.split()[0])):
            Cloud(owner.parent.name).down()
            swept.append(owner.parent.name)
    return swept


def _start(pid: int) -> str:
    """Identify a process by pid and start time, as a pid can be reused."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return f'{pid} {psutil.Process(pid).create_time()}'
    return ''
