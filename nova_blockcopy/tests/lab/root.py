# SPDX-License-Identifier: Apache-2.0
"""Roots: another release of Debian for the hosts of a lab.

A root is a directory with a minimal system of that release. The hosts run the
libvirt and the QEMU of the root. Each host mounts ``/usr`` and ``/etc`` of the
root over those of the machine. The mounts are overlays of the host, so
nothing is written to the root, and any number of labs can share the root. All
other directories are the machine's, so images and code have the same paths.

The process that drives a lab uses the machine's Python. Its threads on a host
find their Python modules, but not always the libraries of extension modules:
a newer libsqlite3 needs a newer libc than the process has. So the process
imports such modules before a thread enters a host.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from collections.abc import Iterator

from nova_blockcopy.tests.lab import host

#: The directory of all roots.
ROOTS = pathlib.Path('/var/tmp/nova-blockcopy-roots')
#: The releases that labs can use, by the name that people give them.
PLATFORMS = {
    'debian-12': 'bookworm',
    'debian-13': 'trixie',
    'debian-sid': 'sid',
}
#: The environment variable with the path of the root; if the variable is not
#: set, hosts run the machine's programs.
VARIABLE = 'NOVA_BLOCKCOPY_LAB_ROOT'
#: The packages that bindep.txt lists for a host of a lab.
_PACKAGES = (
    'e2fsprogs',
    'hostname',
    'iproute2',
    'libvirt-clients',
    'libvirt-daemon',
    'libvirt-daemon-driver-qemu',
    'mount',
    'qemu-system-x86',
    'qemu-utils',
    'util-linux',
)
#: A file in each complete root, which lists the packages of the root.
_STAMP = 'etc/lab-root'
#: The directories that a host takes from a root, and the directory in which
#: the host prepares them.
_TREES = ('/etc', '/usr')
_SCRATCH = '/run/root'
#: Runs in PID and mount namespaces of its own. Their end stops daemons that
#: packages have started, and hides the mounts from others. debootstrap cannot
#: choose among alternative packages, so apt installs the packages.
_MAKE = '''
set -e
release=$1 mirror=$2 root=$3
shift 3
debootstrap --variant=minbase --force-check-gpg "$release" "$root" "$mirror"
# let no package start a service
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mount --rbind /dev "$root/dev"
mount --bind /proc "$root/proc"
chroot "$root" apt-get update -qq
chroot "$root" apt-get install -y -qq --no-install-recommends "$@"
chroot "$root" apt-get clean
rm "$root/usr/sbin/policy-rc.d"
'''


def chosen() -> pathlib.Path | None:
    """Return the root that labs use; None for the machine's own system."""
    path = os.environ.get(VARIABLE)
    return pathlib.Path(path).absolute() if path else None


def make(
    release: str, name: str = '', packages: tuple[str, ...] | None = None
) -> pathlib.Path:
    """Make the root of a Debian release, unless the root exists already.

    :param name: of the root; the default is the release
    :param packages: the default is those of a host of a lab
    :returns: the path of the root
    :raises LabError: the root cannot be made
    """
    name, packages = name or release, packages or _PACKAGES
    target = ROOTS / name
    with _locked():
        if _made_of(target) == packages:
            return target
        for path in (target, *ROOTS.glob(f'.{name}-*')):
            shutil.rmtree(path, ignore_errors=True)
        # Renamed when complete. The name is new each time, because processes
        # of an interrupted attempt may still write to their directory.
        unfinished = pathlib.Path(
            tempfile.mkdtemp(dir=ROOTS, prefix=f'.{name}-')
        )
        unfinished.chmod(0o755)
        try:
            _fill(release, unfinished, packages)
            (unfinished / _STAMP).write_text('\n'.join(packages))
            unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return target


def which(program: str) -> str | None:
    """Return the path of a program of the hosts, as the machine sees it."""
    root = chosen()
    if root is None:
        return shutil.which(program)
    folders = ('local/sbin', 'local/bin', 'sbin', 'bin')
    path = ':'.join(str(root / 'usr' / folder) for folder in folders)
    return shutil.which(program, path=path)


def mounts(root: pathlib.Path) -> list[str]:
    """Return shell commands that mount the files of a root.

    The commands run in a new mount namespace that has its own ``/run``.
    """
    lines = []
    for tree in _TREES:
        own = f'{_SCRATCH}{tree}'
        layers = f'lowerdir={root}{tree},upperdir={own}/upper'
        lines += [
            f'mkdir -p {own}/upper {own}/work {own}/whole',
            f'mount -t overlay -o {layers},workdir={own}/work '
            f'overlay {own}/whole',
        ]
    for path in kept(_python()):
        lines += [
            f'mkdir -p {_SCRATCH}{_whole(path)}',
            f'mount --rbind {path} {_SCRATCH}{_whole(path)}',
        ]
    # a host mounts its own file there
    lines.append(f'touch {_SCRATCH}/etc/whole/hosts')
    # The moves come last and together: a program of one system does not run
    # with libraries of the other.
    lines += [f'mount --move {_SCRATCH}{t}/whole {t}' for t in _TREES]
    return lines


def kept(paths: Iterable[str]) -> list[str]:
    """Return directories of the machine that hosts see inside a root's.

    :param paths: the directories that Python loads modules from
    """
    below = {
        path
        for path in map(os.path.normpath, paths)
        if path.startswith(tuple(f'{tree}/' for tree in _TREES))
        and path != '/usr/local'
    }
    return sorted(
        path
        for path in below
        if not any(path.startswith(f'{other}/') for other in below)
    )


def _python() -> list[str]:
    """Return the directories that Python may import modules from."""
    own = pathlib.Path(__file__).parents[3]
    found = [
        *(sys.prefix, str(own), *sys.path),
        *(sysconfig.get_path(name) for name in ('stdlib', 'platstdlib')),
    ]
    return [path for path in found if os.path.isdir(path)]


def _whole(path: str) -> str:
    """Return the place of a path in the prepared directories."""
    _, tree, rest = path.split('/', 2)
    return f'/{tree}/whole/{rest}'


def _made_of(root: pathlib.Path) -> tuple[str, ...] | None:
    try:
        return tuple((root / _STAMP).read_text().split())
    except FileNotFoundError:
        return None


def _fill(release: str, root: pathlib.Path, packages: tuple[str, ...]) -> None:
    if shutil.which('debootstrap') is None:
        raise host.LabError(
            '"debootstrap" is not installed; install package debootstrap '
            '(see bindep.txt).'
        )
    print(
        f'Making a root of {release}, which takes about a minute',
        file=sys.stderr,
    )
    done = subprocess.run(
        [
            *('unshare', '--mount', '--pid', '--fork', '--kill-child'),
            *('--mount-proc', 'sh', '-c', _MAKE, 'sh'),
            *(release, _mirror(), str(root), *packages),
        ],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(),
    )
    if done.returncode:
        raise host.LabError(
            f'The root of "{release}" cannot be made: {done.stdout[-1000:]}'
        )


def _mirror() -> str:
    """Return the URI from which this machine's apt gets Debian packages."""
    found = _output(
        *('apt-get', 'indextargets', '--format', '$(REPO_URI)'),
        *('Created-By: Packages', 'Component: main'),
        *('Origin: Debian', 'Label: Debian'),
    )
    if not found:
        raise host.LabError(
            'apt knows no mirror of Debian; add one to its sources, and run '
            '"apt-get update".'
        )
    return found[0]


def _environment() -> dict[str, str]:
    """Return the environment of debootstrap and apt.

    The proxies of apt's configuration are added, because debootstrap does not
    read that configuration.
    """
    proxies = {
        f'{kind}_proxy': proxy[0]
        for kind in ('http', 'https')
        if (proxy := _output(*_DUMP, f'Acquire::{kind}::Proxy'))
    }
    return {
        **proxies,
        **os.environ,
        'DEBIAN_FRONTEND': 'noninteractive',
        'LC_ALL': 'C',
    }


_DUMP = ('apt-config', 'dump', '--no-empty', '--format', '%v%n')


def _output(*argv: str) -> list[str]:
    """Return the words that a command prints; none if it is not installed."""
    try:
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True
        )
    except FileNotFoundError:
        return []
    return done.stdout.split()


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Lock out other processes that make a root."""
    ROOTS.mkdir(parents=True, exist_ok=True)
    lock = os.open(ROOTS, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
