# SPDX-License-Identifier: Apache-2.0
"""The whole lab: two hosts and the link between them."""

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
from nova_blockcopy.tests.lab import kernel
from nova_blockcopy.tests.lab import root

DEV = pathlib.Path('/dev')
_LOOP_CONTROL = '/dev/loop-control'
#: Attributes with the owners that libvirt remembers.
_REMEMBERED = 'trusted.libvirt.security.'
#: Must be on a file system with O_DIRECT, which not every tmpfs has.
BASE = pathlib.Path('/var/tmp/nova-blockcopy-lab')
#: Processes of a host that no migration starts.
_SERVERS = (
    'libvirtd',
    'qemu-storage-daemon',
    'qemu-system-x86',
    'qemu-system-x86_64',
    'swtpm',
)
#: Programs that the machine needs, and their packages; then those that a host
#: needs.
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
    'blkdiscard': 'util-linux',
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

    :param name: unique on the machine; a random name if None
    :param mounts: more directories of each host's own: paths inside its
        namespaces, and names outside
    :param small: directories of each host's home that are file systems of
        their own, and their sizes in MiB. They need O_DIRECT on tmpfs, which
        Linux has from 6.6 on.
    """

    def __init__(
        self,
        name: str | None = None,
        mounts: Mapping[str, str] | None = None,
        small: Mapping[str, int] | None = None,
    ) -> None:
        self.name = name or uuid.uuid4().hex[:6]
        self.directory = BASE / self.name
        of = root.chosen()
        own = (self.directory, mounts, root.mounts(of) if of else (), small)
        self.a = host.Host('a', '10.98.0.1', *own)
        self.b = host.Host('b', '10.98.0.2', *own)
        self.hosts = (self.a, self.b)

    @property
    def authority(self) -> certificates.Authority:
        """The certificate authority that both hosts trust."""
        return certificates.Authority(self.directory / 'authority')

    def certify(self, at: host.Host, address: str) -> None:
        """Give a host its certificates, which QEMU may read.

        :param address: the IP address that they are for
        """
        self.authority.certify(
            at.outside(at.certificates), at.hostname, address
        )
        at.run('chgrp', '--recursive', host.GROUP, str(at.certificates))

    def up(self, *, owned: bool = True) -> None:
        """Start both hosts and connect them; a failure ends both again.

        :param owned: the lab belongs to this process, so a sweep ends the lab
            after the end of this process
        :raises LabError: the lab cannot run on this machine
        """
        lacking = missing()
        if lacking:
            raise host.LabError('\n'.join(lacking))
        with _locked():
            if self.directory.exists():
                raise host.LabError(
                    f'Lab "{self.name}" exists already; end it with '
                    f'"tools/lab down" or "tools/lab sweep".'
                )
            _make_mount_points(self.hosts)
            (self.directory / 'host').mkdir(parents=True)
            (self.directory / 'loops').mkdir()
            (self.directory / 'owner').write_text(_me() if owned else '')
        try:
            for each in self.hosts:
                each.up()
                # libvirt gives the files of a guest to QEMU's user
                kernel.copy(each.outside(each.boot))
                self.certify(each, each.address)
            self._connect()
            for each in self.hosts:
                each.start_libvirtd()
            self._wait_for_libvirtd()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End the lab in any state, and remove all its files and devices."""
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
        """End all guests, and remove their images, journals and deltas."""
        self.set_link_rate(None)
        for each in self.hosts:
            each.end_guests()
            for process in each.processes():
                if process.name() != 'libvirtd':
                    process.kill()
            for loop in (self.directory / 'loops').iterdir():
                detach(DEV / loop.name)
                loop.unlink()
            # the daemon of a failing file has been killed
            each.run('umount', '--lazy', '-a', '-t', 'fuse', check=False)
            for path in ('images', 'journal', 'deltas'):
                # which may be a mount point, and stays
                for found in each.outside(each.home / path).glob('*'):
                    _remove(found)
            each.run('rm', '-rf', '/run/nova-blockcopy')

    def litter(self) -> list[str]:
        """Describe the processes and files that a migration has left."""
        found = []
        for each in self.hosts:
            found += [
                f'process {process.name()} on host {each.name}'
                for process in each.processes()
                if process.name() not in _SERVERS
            ]
            for path in ('journal', 'deltas'):
                top = each.outside(each.home / path)
                found += [
                    f'{path}/{file.relative_to(top)} on host {each.name}'
                    for file in top.rglob('*')
                    if file.is_file()
                ]
        return found

    def set_link_rate(self, mbit: int | None) -> None:
        """Limit each direction of the link in Mbit/s; None for no limit."""
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
    """Describe in sentences all that this machine lacks for a lab."""
    if os.geteuid():
        return ['Run the lab as root, for its namespaces and loop devices.']
    of = root.chosen()
    programs = _PROGRAMS if of else {**_PROGRAMS, **_HOST_PROGRAMS}
    found = [
        f'"{program}" is not installed; install package {package} '
        f'(see bindep.txt).'
        for program, package in programs.items()
        if shutil.which(program) is None
    ]
    lacking = [name for name in _HOST_PROGRAMS if root.which(name) is None]
    if of and lacking:
        found.append(
            f'{root.VARIABLE} names {of}, which lacks {", ".join(lacking)}; '
            f'make a root with "tools/lab root debian-13".'
        )
    if not os.path.exists(_LOOP_CONTROL):
        found.append(f'This kernel has no loop devices ({_LOOP_CONTROL}).')
    if shutil.which('unshare') and subprocess.call(
        ['unshare', '--net', '--mount', '--uts', 'true'],
        stderr=subprocess.DEVNULL,
    ):
        found.append(
            'Namespaces cannot be made here; if this is a container, run the '
            'container privileged.'
        )
    return found


def sweep() -> list[str]:
    """End the labs whose owners are dead, and return their names."""
    swept = []
    with _locked():
        for owner in BASE.glob('*/owner'):
            if _is_dead(owner.read_text()):
                # so that no other process sweeps the same lab
                owner.write_text(_me())
                swept.append(owner.parent.name)
    for name in swept:
        Lab(name).down()
    return swept


def _is_dead(owner: str) -> bool:
    return bool(owner) and owner != _start(int(owner.split()[0]))


def attach(lab_directory: pathlib.Path, image: pathlib.Path) -> str:
    """Attach a file to a loop device, and return the path of the device.

    The end of the lab detaches the device.
    """
    device = subprocess.run(
        ['losetup', '--find', '--show', str(image)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (lab_directory / 'loops' / pathlib.Path(device).name).touch()
    return device


def detach(device: pathlib.Path) -> None:
    """Detach a loop device, if it is attached."""
    # the end of its last user may have detached the device
    done = subprocess.run(
        ['losetup', '--detach', str(device)],
        check=False,
        stderr=subprocess.DEVNULL,
    )
    if not done.returncode:
        _take_back(device)


def _take_back(device: pathlib.Path) -> None:
    """Take a device from QEMU's user, if libvirtd has died before."""
    usual = os.stat(_LOOP_CONTROL)
    os.chown(device, usual.st_uid, usual.st_gid)
    for name in os.listxattr(device):
        if name.startswith(_REMEMBERED):
            os.removexattr(device, name)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _me() -> str:
    return _start(os.getpid())


def _start(pid: int) -> str:
    """Identify a process by pid and start time, as a pid can be reused."""
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
    """Remove the mount points that labs made, if no lab is left."""
    if any(path.is_dir() for path in BASE.iterdir()):
        return
    made = BASE / '.made'
    if made.exists():
        for path in made.read_text().splitlines():
            with contextlib.suppress(OSError):  # others use the directory
                os.rmdir(path)
        made.unlink()


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Lock out other labs that make or remove the same directories."""
    # locks the parent directory, which stays when the last lab ends
    lock = os.open(BASE.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        BASE.mkdir(exist_ok=True)
        yield
        with contextlib.suppress(OSError):  # other labs exist
            BASE.rmdir()
    finally:
        os.close(lock)


def _ip(*arguments: str) -> None:
    subprocess.run(['ip', *arguments], check=True)
