# SPDX-License-Identifier: Apache-2.0
"""One host of the lab: its namespaces, directories and libvirtd."""

import concurrent.futures
import functools
import os
import pathlib
import subprocess
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

import libvirt
import psutil

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.lab import namespaces
from nova_blockcopy.tests.lab import utmp

T = TypeVar('T')

#: Paths of a host's own directories inside its namespaces, and their names in
#: the directory of the host outside.
_LIBVIRT = {
    '/var/lib/libvirt': 'lib',
    '/var/log/libvirt': 'log',
    '/var/cache/libvirt': 'cache',
    '/etc/libvirt': 'etc',
}
_SOCKET = 'run/libvirt/libvirt-sock'
#: A sysfs shows the network devices of the namespace that mounted the sysfs.
_OWN_SYSFS = (
    'mount --rbind /sys/fs/cgroup /run/cgroup',
    'mount --types sysfs sysfs /sys',
    'mount --move /run/cgroup /sys/fs/cgroup',
)
#: All that libvirt keeps of a guest.
_EVERYTHING = (
    libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)
#: A guest that is not active, or not there.
_GONE = (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN)
#: QEMU's user and group.
USER, GROUP = 'libvirt-qemu', 'kvm'
#: Lines for hosts on a machine that has no such user.
_PASSWD = f'{USER}:x:64055:64055::/nonexistent:/usr/sbin/nologin\n'
_GROUPS = f'{USER}:x:64055:\n{GROUP}:x:64056:\n'
#: libvirt probes QEMU at each call if QEMU's user cannot open the device
#: (virQEMUCapsIsValid in qemu_capabilities.c). Distributions let the user.
_OPEN_KVM = (
    'mknod --mode 666 /run/kvm c 10 232',
    'test ! -e /dev/kvm || mount --bind /run/kvm /dev/kvm',
)
_SECONDS = 30


class LabError(Exception):
    """The lab cannot do a task; the message says why."""


class Host:
    """One of the two hosts.

    QEMU is an ordinary user there. libvirt changes the owners of images, and
    remembers them, as it does on hosts of distributions.

    :param name: 'a' or 'b'
    :param address: the IP address of the only network interface
    :param directory: the directory of the lab, for the host's directories
    :param mounts: more directories of the host's own: paths inside its
        namespaces, and names outside
    :param files: shell commands that mount the files of another system
    :param small: directories in ``home`` with a file system of their own, and
        its size in MiB
    """

    def __init__(
        self,
        name: str,
        address: str,
        directory: pathlib.Path,
        mounts: Mapping[str, str] | None = None,
        files: Sequence[str] = (),
        small: Mapping[str, int] | None = None,
    ) -> None:
        self.name = name
        self.hostname = f'lab-{name}'
        self.address = address
        self.uri = 'qemu:///system'
        self.peer_uri = f'qemu+tcp://{address}/system'
        self.home = directory / 'host'
        self.images = self.home / 'images'
        self.boot = self.home / 'boot'
        self.certificates = self.home / 'certificates'
        self.directory = directory / name
        self._directories = {**_LIBVIRT, **(mounts or {})}
        self._files = files
        self.small = {self.home / k: v for k, v in (small or {}).items()}
        #: More variables in the environment of libvirtd and of the guests.
        self.variables: dict[str, str] = {}
        self._pid_file = directory / f'{name}.pid'
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None

    @property
    def pid(self) -> int:
        """The id of the process that holds the namespaces."""
        return int(self._pid_file.read_text())

    def up(self) -> None:
        """Make the namespaces; :meth:`lab.Lab.up` connects the network.

        :raises LabError: the namespaces cannot be made
        """
        self._write_files()
        script = '\n'.join(
            [
                'set -e',
                f'hostname {self.hostname}',
                'mount --make-rprivate /',
                'ip link set lo up',
                'mount -t tmpfs -o mode=755 run /run',
                'mkdir /run/libvirt /run/lock /run/cgroup',
                *self._files,
                *_OWN_SYSFS,
                *_OPEN_KVM,
                *(
                    f'mount --bind {self.directory}/{name} {path}'
                    for path, name in self._mounts().items()
                ),
                *(
                    f'mkdir -p {path} && '
                    f'mount -t tmpfs -o size={mib}m,mode=755 small {path}'
                    for path, mib in self.small.items()
                ),
                'echo up',
                'exec sleep infinity',
            ]
        )
        holder = subprocess.Popen(
            ['unshare', '--net', '--mount', '--uts', 'sh', '-c', script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        self._pid_file.write_text(str(holder.pid))
        assert holder.stdout is not None
        if holder.stdout.readline() != 'up\n':
            raise LabError(
                f'The namespaces of host {self.name} cannot be set up; see '
                f'the messages above.'
            )
        self.note_boot()

    def note_boot(self) -> None:
        """Tell the next libvirtd that the host boots now."""
        root = pathlib.Path(f'/proc/{self.pid}/root')
        (root / utmp.PATH).write_bytes(utmp.boot(int(time.time())))

    def _mounts(self) -> dict[str, str]:
        files = {f'/etc/{name}': name for name in ('passwd', 'group', 'hosts')}
        return {**self._directories, **files, str(self.home): 'home'}

    def _write_files(self) -> None:
        own = ('home/images', 'home/boot', 'home/certificates')
        for name in (*self._directories.values(), *own):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        files = {
            'passwd': pathlib.Path('/etc/passwd').read_text() + _PASSWD,
            'group': pathlib.Path('/etc/group').read_text() + _GROUPS,
            'hosts': f'127.0.0.1 localhost\n{self.address} {self.hostname}\n',
            'etc/libvirtd.conf': f'''
                listen_tls = 0
                listen_tcp = 1
                listen_addr = "{self.address}"
                auth_tcp = "none"
                auth_unix_rw = "none"
                unix_sock_rw_perms = "0777"
                host_uuid = "{self.name * 8}-1ab0-4000-8000-{self.name * 11}0"
                log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
            ''',
            'etc/qemu.conf': f'''
                user = "{USER}"
                group = "{GROUP}"
                dynamic_ownership = 1
                remember_owner = 1
                security_driver = "none"
                namespaces = []
                cgroup_controllers = []
                stdio_handler = "file"
                migration_address = "{self.address}"
                default_tls_x509_cert_dir = "{self.certificates}"
                default_tls_x509_verify = 1
            ''',
        }
        for name, content in files.items():
            lines = (line.strip() for line in content.splitlines())
            (self.directory / name).write_text('\n'.join(lines) + '\n')

    def start_libvirtd(self) -> None:
        """Start libvirtd; ``wait_for_libvirtd`` waits for its answers."""
        out = self.directory / 'libvirtd.out'
        own = [f'{name}={value}' for name, value in self.variables.items()]
        self.start('env', *own, 'libvirtd', '--listen', log=out)

    def wait_for_libvirtd(self) -> None:
        """Wait until libvirtd answers.

        :raises LabError: libvirtd does not answer; the message has the end
            of its output
        """
        if not waiting.until(self._answers, timeout=_SECONDS, interval=0.05):
            log = (self.directory / 'libvirtd.out').read_text()[-1000:]
            raise LabError(
                f'libvirtd of host {self.name} does not answer: {log}'
            )
        # libvirtd probes QEMU's capabilities at the first use, which takes
        # seconds; on a host in service, that has happened
        connection = self.connect()
        connection.getVersion()
        connection.close()

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except (libvirt.libvirtError, OSError):
            return False
        return True

    def connect(self) -> libvirt.virConnect:
        """Connect to the host's libvirtd from outside its namespaces."""
        return libvirt.open(
            f'qemu:///system?socket=/proc/{self.pid}/root/{_SOCKET}'
        )

    def end_guests(self, uuid: str | None = None) -> None:
        """Destroy and undefine guests of this host.

        :param uuid: the only guest to end; None for all guests
        """
        connection = self.connect()
        for domain in connection.listAllDomains():
            if uuid not in (None, domain.UUIDString()):
                continue
            _end(domain)
        connection.close()

    def outside(self, path: str | pathlib.Path) -> pathlib.Path:
        """Return the path outside the namespaces for a path on the host."""
        if any(pathlib.Path(path).is_relative_to(each) for each in self.small):
            return pathlib.Path(f'/proc/{self.pid}/root{path}')
        for inside, name in self._mounts().items():
            if pathlib.Path(path).is_relative_to(inside):
                relative = pathlib.Path(path).relative_to(inside)
                return self.directory / name / relative
        return pathlib.Path(path)

    def call(self, function: Callable[..., T], *args: Any, **kw: Any) -> T:
        """Run a function in a thread of this host and return its result."""
        return self.submit(function, *args, **kw).result()

    def submit(
        self, function: Callable[..., T], *args: Any, **kw: Any
    ) -> 'concurrent.futures.Future[T]':
        """Run a function in a thread of this host, without waiting."""
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(
                16, initializer=namespaces.enter, initargs=(self.pid,)
            )
        return self._pool.submit(function, *args, **kw)

    def run(
        self, *argv: str, check: bool = True, timeout: int = 120
    ) -> 'subprocess.CompletedProcess[str]':
        """Run a command on this host and capture its output.

        :param check: raise ``CalledProcessError`` if the command fails
        :param timeout: seconds
        """
        return subprocess.run(
            [*self._inside(), *argv],
            check=check,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self, *argv: str, log: pathlib.Path) -> int:
        """Start a command on this host that outlives the caller.

        :param log: the file that its output is appended to, as a path outside
            the namespaces
        :returns: the process id
        """
        with log.open('ab') as out:
            return subprocess.Popen(
                [*self._inside(), *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            ).pid

    def shell(self) -> int:
        """Run an interactive shell on this host, and return its exit code."""
        prompt = f'PS1=[{self.hostname}] \\w# '
        return self.interact('env', prompt, 'bash', '--norc')

    def interact(self, *argv: str) -> int:
        """Run a command on this host that uses the terminal of the caller.

        :returns: the exit code
        """
        return subprocess.call([*self._inside(), *argv])

    def processes(self) -> list[psutil.Process]:
        """Return all processes of this host but the namespaces' holder."""
        found = []
        for pid in namespaces.members(self.pid):
            try:
                found.append(psutil.Process(pid))
            except psutil.NoSuchProcess:
                continue
        return found

    def kill(self, processes: Iterable[psutil.Process]) -> None:
        """Kill processes by SIGKILL, and wait for their end."""
        found = list(processes)
        for process in found:
            _kill(process)
        psutil.wait_procs(found, timeout=10)

    def missing_mount_points(self) -> list[str]:
        """Return the mount points that do not exist on this machine."""
        return [path for path in self._directories if not os.path.isdir(path)]

    def down(self) -> None:
        """End all processes of this host and remove its namespaces.

        :raises LabError: a process does not end
        """
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        if not self._pid_file.exists():
            return
        if not psutil.pid_exists(self.pid):
            return
        if not waiting.until(self._emptied, timeout=_SECONDS):
            raise LabError(
                f'Processes of host {self.name} do not end after SIGKILL.'
            )
        holder = psutil.Process(self.pid)
        _kill(holder)
        psutil.wait_procs([holder], timeout=_SECONDS)

    def _emptied(self) -> bool:
        """Kill all processes of this host; tell whether there were none."""
        running = self.processes()
        for process in running:
            _kill(process)
        psutil.wait_procs(running, timeout=5)
        return not running

    def _inside(self) -> tuple[str, ...]:
        return (
            *('nsenter', '--target', str(self.pid)),
            *('--mount', '--net', '--uts', '--'),
        )


def _end(domain: libvirt.virDomain) -> None:
    """Destroy and undefine a guest that may end by itself meanwhile."""
    for end in (
        domain.destroy,
        functools.partial(domain.undefineFlags, _EVERYTHING),
    ):
        try:
            end()
        except libvirt.libvirtError as e:
            if e.get_error_code() not in _GONE:
                raise


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
