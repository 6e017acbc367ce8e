# SPDX-License-Identifier: Apache-2.0
"""The hosts of a cloud: the lab's two, and one for the control plane."""

import contextlib
import pathlib

import psutil

from nova_blockcopy.tests.cloud import api
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab

#: Nova's state_path. Both compute hosts have one at this path, as what a
#: domain's XML says of its disks must hold on both.
STATE = pathlib.Path('/var/lib/nova')
#: Where the volume group's devices are on a compute host.
GROUP = 'cloudvg'
_MOUNTS = {
    str(STATE): 'nova',
    f'/dev/{GROUP}': 'vg',
    '/etc/nova': 'nova-etc',
    '/etc/sudoers.d': 'sudoers',
}


class Hosts(lab.Lab):
    """Two compute hosts and ``control``, joined by a bridge.

    ``wait_for_libvirtd`` is left to the caller, who has other things to do
    in the meantime.

    :param name: unique on the machine
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, _MOUNTS)
        self.control = host.Host('control', api.ADDRESS, self.directory)

    def end_processes(self) -> None:
        """End all that runs on them, and so their namespaces."""
        # all are killed before any is waited for, which takes seconds; no
        # threads for that: at the end of Python there are no new ones
        for each in (self.control, *self.hosts):
            with contextlib.suppress(FileNotFoundError):  # it was never up
                for process in each.processes():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
        for each in (self.control, *self.hosts):
            each.down()

    def down(self) -> None:
        """End it; leaves nothing behind, whatever state it is in."""
        self.end_processes()
        super().down()

    def _wait_for_libvirtd(self) -> None:
        return

    def wait_for_libvirtd(self) -> None:
        """Wait until both answer."""
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
