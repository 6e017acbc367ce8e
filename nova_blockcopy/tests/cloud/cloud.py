# SPDX-License-Identifier: Apache-2.0
"""The whole cloud, from up to down."""

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
        """Bring it up; what was begun is taken down if that fails.

        :param settings: of the computes, if not the usual
        :param owned: it ends with this process, at the latest by a sweep
        :raises LabError: it cannot run here, and why
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
        """End it; leaves nothing behind, whatever state it is in."""
        self.hosts.end_processes()
        for each in self.computes:
            each.volumes.down()
        self.hosts.down()

    @property
    def is_up(self) -> bool:
        return self.directory.exists()

    @property
    def settings(self) -> compute.Settings:
        """How its computes are configured."""
        found = json.loads((self.directory / 'settings').read_text())
        return compute.Settings(**found)

    def reconfigure(
        self,
        *,
        images: str | None = None,
        driver: str | None = None,
        **groups: dict[str, Any],
    ) -> None:
        """Restart the computes, configured otherwise.

        :param images: libvirt's images_type; as before if not given
        :param driver: compute_driver; as before if not given
        :param groups: more options by group, in place of earlier ones,
            such as ``libvirt={'live_migration_timeout_action': 'abort'}``
        :raises LabError: servers have disks of another type
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

        :raises LabError: servers have disks of another type
        """
        before = self.settings
        where = (settings.images, settings.shared)
        if where != (before.images, before.shared) and self.servers():
            raise host.LabError(
                'The type of images and their place can change only while '
                'there are no servers; delete them first.'
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
        """The ids of all servers."""
        listed = self.api.compute('GET', '/servers')
        return [each['id'] for each in listed['servers']]

    def litter(self) -> list[str]:
        """What is on the computes although no server is, in words."""
        return [found for each in self.computes for found in each.litter()]

    def _prepare(self) -> None:
        """What a server needs, so that it need not be made by hand."""
        # fetched from here: no package is within reach of the control host
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
    """What this machine lacks for a cloud, in sentences."""
    found = lab.missing()
    if root.chosen():
        found.append(
            f'The hosts of a cloud need more than a root has; unset '
            f'{root.VARIABLE}.'
        )
    found += [
        f'"{program}" is not installed; its package is {package} '
        f'(see bindep.txt).'
        for program, package in _PROGRAMS.items()
        if shutil.which(program) is None
    ]
    if not control.RABBITMQ.exists():
        found.append(
            f'{control.RABBITMQ} is not there; its package is '
            f'rabbitmq-server (see bindep.txt).'
        )
    return found


def sweep() -> list[str]:
    """Take down the clouds whose owners are dead; returns their names."""
    swept = []
    for owner in pathlib.Path(lab.BASE).glob(f'*/{_OWNER}'):
        about = owner.read_text()
        if about != _start(int(about.split()[0])):
            Cloud(owner.parent.name).down()
            swept.append(owner.parent.name)
    return swept


def _start(pid: int) -> str:
    """A process, told apart from a later one with the same number."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return f'{pid} {psutil.Process(pid).create_time()}'
    return ''
