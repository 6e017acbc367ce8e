# SPDX-License-Identifier: Apache-2.0
"""The hosts of a cloud: the lab's two, and one for the control plane."""

import contextlib
import pathlib

import psutil

from nova_blockcopy.tests.cloud import api
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab

#: Nova's state_path on both compute hosts. The path is the same, because a
#: domain's XML names its disks by path and must be valid on both hosts.
STATE = pathlib.Path('/var/lib/nova')
#: The name of the volume group, and of its directory in /dev.
GROUP = 'cloudvg'
_MOUNTS = {
    str(STATE): 'nova',
    f'/dev/{GROUP}': 'vg',
    '/etc/nova': 'nova-etc',
    '/etc/sudoers.d': 'sudoers',
}


class Hosts(lab.Lab):
    """Two compute hosts and ``control``, which a bridge connects.

    The caller must call ``wait_for_libvirtd``, and can do other work before.

    :param name: unique on the machine
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, _MOUNTS)
        self.control = host.Host('control', api.ADDRESS, self.directory)

    def end_processes(self) -> None:
        """End all processes of the hosts, and so their namespaces."""
        # All are killed before the first wait, because each wait takes
        # seconds. Threads cannot wait in parallel here: the exit of Python
        # allows no new threads.
        for each in (self.control, *self.hosts):
            with contextlib.suppress(FileNotFoundError):  # was never started
                for process in each.processes():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
        for each in (self.control, *self.hosts):
            each.down()

    def down(self) -> None:
        """End the hosts in any state, and remove their files."""
        self.end_processes()
        super().down()

    def _wait_for_libvirtd(self) -> None:
        return

    def wait_for_libvirtd(self) -> None:
        """Wait until libvirtd answers on both compute hosts."""
        super()._wait_for_libvirtd()

    def _connect(self) -> None:
        self.control.up()
        ip = ('ip', 'link')
        run = self.control.run
        run(*ip, 'add', 'br0', 'type', 'bridge')
        run('ip', 'address', 'add', f'{api.ADDRESS}/24', 'dev', 'br0')
        run(*ip, 'set', 'br0', 'up')
        for each in self.hosts:
            far = ('name', 'eth0', 'netns', str(each.pid))
            run(*ip, 'add', each.hostname, 'type', 'veth', 'peer', *far)
            run(*ip, 'set', each.hostname, 'master', 'br0', 'up')
            each.run(
                'ip', 'address', 'add', f'{each.address}/24', 'dev', 'eth0'
            )
            each.run(*ip, 'set', 'eth0', 'up')
