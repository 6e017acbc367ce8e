# SPDX-License-Identifier: Apache-2.0
"""One whole machine: a QEMU that emulates it, and ssh to the system in it."""

import pathlib
import subprocess

import fixtures

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.hosts import image
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import tied
from nova_blockcopy.tests.unit.host import servers

#: Seconds. Another machine and tests may use the same cores.
_BOOT = 900
_COMMAND = 900
_LVM = 4 * 2**30
_SSH = (
    *('-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'),
    *('-o', 'ConnectTimeout=30', '-o', 'LogLevel=ERROR'),
)
#: The port of the engine's service in the machine.
PORT = 7000


class Machine(fixtures.Fixture):
    """A machine, which ends together with the fixture and with the process.

    :param number: 1 or 2; the machine is ``host-1`` with address 10.99.0.1,
        or the like
    :param folder: for its disks, and for the socket between the machines
    """

    def __init__(
        self, of: image.Image, number: int, folder: pathlib.Path
    ) -> None:
        super().__init__()
        self.number = number
        self.name = f'host-{number}'
        self.address = f'10.99.0.{number}'
        self._of = of
        self._folder = folder
        self._ssh_port, self.port = servers.free_port(), servers.free_port()

    def _setUp(self) -> None:
        overlay, volume = (self._path(name) for name in ('disk', 'lvm'))
        subprocess.run(
            [
                *('qemu-img', 'create', '-q', '-f', 'qcow2'),
                *('-b', str(self._of.disk), '-F', 'raw', str(overlay)),
            ],
            check=True,
        )
        with volume.open('wb') as f:
            f.truncate(_LVM)
        if self.number > 1:
            # QEMU does not try again to connect to the first machine
            waiting.until(
                lambda: _listens(self._folder / 'wire'), timeout=_BOOT
            )
        process = subprocess.Popen(
            tied.tied(*self._argv(overlay, volume)),
            stdin=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

    def wait(self) -> None:
        """Wait until the system has started.

        :raises LabError: it has not
        """
        if not waiting.until(self._answers, timeout=_BOOT, interval=2):
            console = self._path('console').read_text(errors='replace')
            raise host.LabError(
                f'{self.name} does not start: {console[-1000:]}'
            )

    def run(self, command: str, *, check: bool = True) -> str:
        """Run a command as root, by the shell of the machine.

        :returns: the standard output
        """
        done = subprocess.run(
            [
                *('ssh', *_SSH, '-i', str(self._of.key)),
                *('-p', str(self._ssh_port)),
                *('root@127.0.0.1', command),
            ],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND,
        )
        if check and done.returncode:
            raise host.LabError(f'"{command}" on {self.name}: {done.stderr}')
        return done.stdout.strip()

    def put(self, directory: str, *paths: pathlib.Path) -> None:
        """Copy files into a directory of the machine."""
        subprocess.run(
            [
                *('scp', '-q', *_SSH, '-i', str(self._of.key)),
                *('-P', str(self._ssh_port), *map(str, paths)),
                f'root@127.0.0.1:{directory}/',
            ],
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=_COMMAND,
        )

    def get(self, path: str) -> bytes:
        """Return the content of a file of the machine."""
        local = self._path('got')
        subprocess.run(
            [
                *('scp', '-q', *_SSH, '-i', str(self._of.key)),
                *('-P', str(self._ssh_port)),
                *(f'root@127.0.0.1:{path}', str(local)),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=_COMMAND,
        )
        return local.read_bytes()

    def _path(self, name: str) -> pathlib.Path:
        return self._folder / f'{self.name}.{name}'

    def _answers(self) -> bool:
        try:
            state = self.run('systemctl is-system-running', check=False)
        except subprocess.TimeoutExpired:
            return False
        return state in ('running', 'degraded')

    def _argv(
        self, overlay: pathlib.Path, volume: pathlib.Path
    ) -> tuple[str, ...]:
        first = self.number == 1
        wire = self._folder / 'wire'
        forwards = ''.join(
            f',hostfwd=tcp:127.0.0.1:{outer}-:{inner}'
            for outer, inner in ((self._ssh_port, 22), (self.port, PORT))
        )
        return (
            *('qemu-system-x86_64', '-name', self.name, '-machine', 'q35'),
            *('-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2'),
            *('-m', '2560', '-display', 'none', '-no-user-config'),
            *('-nodefaults', '-serial', f'file:{self._path("console")}'),
            *('-kernel', str(self._of.kernel)),
            *('-initrd', str(self._of.initramfs)),
            '-append',
            f'root=/dev/vda rw console=ttyS0 quiet mitigations=off '
            f'lab.number={self.number}',
            *('-drive', f'if=none,id=d0,file={overlay},cache=unsafe'),
            *('-device', 'virtio-blk-pci,drive=d0'),
            '-drive',
            f'if=none,id=d1,file={volume},format=raw,cache=unsafe',
            *('-device', 'virtio-blk-pci,drive=d1'),
            *('-netdev', f'user,id=control,restrict=on{forwards}'),
            '-device',
            f'virtio-net-pci,netdev=control,mac=52:54:00:aa:00:0{self.number}',
            '-netdev',
            f'stream,id=wire,server={"on" if first else "off"},'
            f'addr.type=unix,addr.path={wire}',
            '-device',
            f'virtio-net-pci,netdev=wire,mac=52:54:00:bb:00:0{self.number}',
            *('-device', 'virtio-rng-pci'),
        )


def _listens(path: pathlib.Path) -> bool:
    """Tell whether a program listens at a unix socket."""
    wires = pathlib.Path('/proc/net/unix').read_text().splitlines()
    return any(line.endswith(f' {path}') for line in wires)
