# SPDX-License-Identifier: Apache-2.0
"""The whole lab: two hosts and their link, from up to down."""

import concurrent.futures
import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import uuid
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

import psutil

from nova_blockcopy.tests.lab import certificates
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import root

DEV = pathlib.Path('/dev')
#: On a file system that takes O_DIRECT, which tmpfs does not everywhere.
BASE = pathlib.Path('/var/tmp/nova-blockcopy-lab')
#: Programs and their packages: of the machine, and of its hosts.
_PROGRAMS = {
    'ip': 'iproute2',
    'unshare': 'util-linux',
    'nsenter': 'util-linux',
    'losetup': 'mount',
    'mount': 'mount',
    'hostname': 'hostname',
    'qemu-img': 'qemu-utils',
    'gcc': 'gcc',
    'cpio': 'cpio',
    'openssl': 'openssl',
}
_HOST_PROGRAMS = {
    'ip': 'iproute2',
    'tc': 'iproute2',
    'mount': 'mount',
    'hostname': 'hostname',
    'libvirtd': 'libvirt-daemon',
    'virsh': 'libvirt-clients',
    'qemu-system-x86_64': 'qemu-system-x86',
    'qemu-nbd': 'qemu-utils',
    'qemu-img': 'qemu-utils',
    'qemu-storage-daemon': 'qemu-system-common',
}


class Lab:
    """Two hosts, ``a`` and ``b``, and the link between them.

    :param name: unique on the machine; made up if not given
    :param mounts: more directories of each host's own, and their names
    """

    def __init__(
        self,
        name: str | None = None,
        mounts: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name or uuid.uuid4().hex[:6]
        self.directory = BASE / self.name
        of = root.chosen()
        own = (self.directory, mounts, root.mounts(of) if of else ())
        self.a = host.Host('a', '10.98.0.1', *own)
        self.b = host.Host('b', '10.98.0.2', *own)
        self.hosts = (self.a, self.b)

    @property
    def authority(self) -> certificates.Authority:
        """Which all hosts trust."""
        return certificates.Authority(self.directory / 'authority')

    def up(self, *, owned: bool = True) -> None:
        """Bring it up; what was begun is taken down if that fails.

        :param owned: it ends with this process, at the latest by a sweep
        :raises LabError: it cannot run here, and why
        """
        lacking = missing()
        if lacking:
            raise host.LabError('\n'.join(lacking))
        with _locked():
            if self.directory.exists():
                raise host.LabError(
                    f'Lab "{self.name}" is up already, or was not taken down.'
                )
            _make_mount_points(self.hosts)
            (self.directory / 'host').mkdir(parents=True)
            (self.directory / 'loops').mkdir()
            (self.directory / 'owner').write_text(_me() if owned else '')
        try:
            for each in self.hosts:
                each.up()
                self.authority.certify(
                    each.outside(each.certificates),
                    *(each.hostname, each.address),
                )
            self._connect()
            for each in self.hosts:
                each.start_libvirtd()
            self._wait_for_libvirtd()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End it; leaves nothing behind, whatever state it is in."""
        for each in self.hosts:
            each.down()
        if not self.directory.exists():
            return
        for loop in (self.directory / 'loops').glob('*'):
            detach(DEV / loop.name)
        with _locked():
            shutil.rmtree(self.directory)
            _remove_mount_points()

    def empty(self) -> None:
        """End all guests, and remove what they and migrations have left."""
        self.set_link_rate(None)
        for each in self.hosts:
            each.end_guests()
            for process in each.processes():
                if process.name() != 'libvirtd':
                    process.kill()
            for loop in (self.directory / 'loops').iterdir():
                detach(DEV / loop.name)
                loop.unlink()
            for path in ('images', 'journal', 'deltas'):
                shutil.rmtree(
                    each.outside(each.home) / path, ignore_errors=True
                )
            each.outside(each.images).mkdir()
            each.run('rm', '-rf', '/run/nova-blockcopy')

    def set_link_rate(self, mbit: int | None) -> None:
        """Limit the link, each way, in Mbit/s; None lifts the limit."""
        for each in self.hosts:
            tc = ('tc', 'qdisc')
            each.run(*tc, 'del', 'dev', 'eth0', 'root', check=False)
            if mbit is not None:
                shape = ('rate', f'{mbit}mbit', 'burst', '1mb')
                each.run(
                    *(*tc, 'add', 'dev', 'eth0', 'root', 'tbf', *shape),
                    *('latency', '50ms'),
                )

    def _wait_for_libvirtd(self) -> None:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(host.Host.wait_for_libvirtd, self.hosts))

    def _connect(self) -> None:
        ends = [f'lab{self.name[:6]}{each.name}' for each in self.hosts]
        _ip('link', 'add', ends[0], 'type', 'veth', 'peer', 'name', ends[1])
        for each, end in zip(self.hosts, ends, strict=True):
            _ip('link', 'set', end, 'netns', str(each.pid), 'name', 'eth0')
            each.run(
                'ip', 'address', 'add', f'{each.address}/24', 'dev', 'eth0'
            )
            each.run('ip', 'link', 'set', 'eth0', 'up')


def missing() -> list[str]:
    """What this machine lacks for a lab, in sentences; empty if nothing."""
    if os.geteuid():
        return ['The lab needs root: for namespaces and loop devices.']
    of = root.chosen()
    programs = _PROGRAMS if of else {**_PROGRAMS, **_HOST_PROGRAMS}
    found = [
        f'"{program}" is not installed; its package is {package} '
        f'(see bindep.txt).'
        for program, package in programs.items()
        if shutil.which(program) is None
    ]
    lacking = [name for name in _HOST_PROGRAMS if root.which(name) is None]
    if of and lacking:
        found.append(
            f'{of}, which {root.VARIABLE} names, lacks {", ".join(lacking)}; '
            f'"tools/lab root trixie" makes a root.'
        )
    if not os.path.exists('/dev/loop-control'):
        found.append('This kernel has no loop devices (/dev/loop-control).')
    if shutil.which('unshare') and subprocess.call(
        ['unshare', '--net', '--mount', '--uts', 'true'],
        stderr=subprocess.DEVNULL,
    ):
        found.append(
            'Namespaces cannot be made here; in a container, run it '
            'privileged.'
        )
    return found


def sweep() -> list[str]:
    """Take down the labs whose owners are dead; returns their names."""
    swept = []
    for directory in BASE.glob('*/owner'):
        owner = directory.read_text()
        name = directory.parent.name
        if owner and owner != _start(int(owner.split()[0])):
            Lab(name).down()
            swept.append(name)
    return swept


def attach(lab_directory: pathlib.Path, image: pathlib.Path) -> str:
    """Make a block device of a file; the lab detaches it at the latest."""
    device = subprocess.run(
        ['losetup', '--find', '--show', str(image)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (lab_directory / 'loops' / pathlib.Path(device).name).touch()
    return device


def detach(device: pathlib.Path) -> None:
    # it may be gone: a device is detached when its last user ends
    subprocess.run(
        ['losetup', '--detach', str(device)],
        check=False,
        stderr=subprocess.DEVNULL,
    )


def _me() -> str:
    return _start(os.getpid())


def _start(pid: int) -> str:
    """A process, told apart from a later one with the same number."""
    try:
        return f'{pid} {psutil.Process(pid).create_time()}'
    except psutil.NoSuchProcess:
        return ''


def _make_mount_points(hosts: Iterable[host.Host]) -> None:
    made = BASE / '.made'
    for each in hosts:
        for path in each.missing_mount_points():
            os.makedirs(path)
            with made.open('a') as f:
                f.write(f'{path}\n')


def _remove_mount_points() -> None:
    """Remove what the first lab had to make, when the last one goes."""
    if any(path.is_dir() for path in BASE.iterdir()):
        return
    made = BASE / '.made'
    if made.exists():
        for path in made.read_text().splitlines():
            with contextlib.suppress(OSError):  # no longer only ours
                os.rmdir(path)
        made.unlink()


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Keep labs from making and removing the same directories at once."""
    # a directory can be locked as well, and stays when the last lab goes
    lock = os.open(BASE.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        BASE.mkdir(exist_ok=True)
        yield
        with contextlib.suppress(OSError):  # other labs are there
            BASE.rmdir()
    finally:
        os.close(lock)


def _ip(*arguments: str) -> None:
    subprocess.run(['ip', *arguments], check=True)
