# SPDX-License-Identifier: Apache-2.0
"""Another release of Debian, whose libvirt and QEMU the hosts of a lab run.

A root is a directory with a minimal system of that release. A host mounts
its ``/usr`` and ``/etc`` over those of the machine, in overlays of its own:
nothing is written to the root, and any number of labs share it. All else is
the machine's, so images and code lie at the same paths.

The process that drives a lab brings its Python from outside. Its threads on
a host find their modules, but not always the libraries of those that are not
Python: a newer libsqlite3 needs a newer libc than the process has. So such
modules are imported before a thread enters a host.
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

#: Where roots are made.
ROOTS = pathlib.Path('/var/tmp/nova-blockcopy-roots')
#: Names the root of all labs; without it, hosts run the machine's programs.
VARIABLE = 'NOVA_BLOCKCOPY_LAB_ROOT'
#: What bindep.txt asks for on a host of a lab.
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
#: Says what a whole root was made of.
_STAMP = 'etc/nova-blockcopy-lab'
#: What a host takes from a root, and where it prepares that.
_TREES = ('/etc', '/usr')
_SCRATCH = '/run/root'
#: Runs in namespaces of its own, which end what packages may have started,
#: and whose mounts nobody else sees. debootstrap cannot tell alternatives
#: among packages apart, so apt installs them.
_MAKE = '''
set -e
release=$1 mirror=$2 root=$3
shift 3
debootstrap --variant=minbase --force-check-gpg "$release" "$root" "$mirror"
mount --rbind /dev "$root/dev"
mount --bind /proc "$root/proc"
chroot "$root" apt-get update -qq
chroot "$root" apt-get install -y -qq --no-install-recommends "$@"
chroot "$root" apt-get clean
'''


def chosen() -> pathlib.Path | None:
    """The root that labs are to use; None if it is the machine's own."""
    path = os.environ.get(VARIABLE)
    return pathlib.Path(path).absolute() if path else None


def make(release: str) -> pathlib.Path:
    """Make the root of a release of Debian, unless it is there already.

    :returns: where it is
    :raises LabError: it cannot be made here, and why
    """
    target = ROOTS / release
    with _locked():
        if _made_of(target) == _PACKAGES:
            return target
        for path in (target, *ROOTS.glob(f'.{release}-*')):
            shutil.rmtree(path, ignore_errors=True)
        # renamed when it is whole; of a new name, as what made another one
        # may have outlived its caller
        unfinished = pathlib.Path(
            tempfile.mkdtemp(dir=ROOTS, prefix=f'.{release}-')
        )
        unfinished.chmod(0o755)
        try:
            _fill(release, unfinished)
            (unfinished / _STAMP).write_text('\n'.join(_PACKAGES))
            unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return target


def which(program: str) -> str | None:
    """Where a program of the hosts lies for the machine, if it is there."""
    root = chosen()
    if root is None:
        return shutil.which(program)
    folders = ('local/sbin', 'local/bin', 'sbin', 'bin')
    path = ':'.join(str(root / 'usr' / folder) for folder in folders)
    return shutil.which(program, path=path)


def mounts(root: pathlib.Path) -> list[str]:
    """Shell commands that give a new mount namespace the files of a root.

    ``/run`` must be the namespace's own already.
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
    # a host mounts its own over it
    lines.append(f'touch {_SCRATCH}/etc/whole/hosts')
    # all at once: a program of one and libraries of the other do not fit
    lines += [f'mount --move {_SCRATCH}{t}/whole {t}' for t in _TREES]
    return lines


def kept(paths: Iterable[str]) -> list[str]:
    """Directories below a root's that hosts still see of the machine's.

    :param paths: what Python is loaded from
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
    """Directories that modules may be imported from, now or later."""
    own = pathlib.Path(__file__).parents[3]
    found = [
        *(sys.prefix, str(own), *sys.path),
        *(sysconfig.get_path(name) for name in ('stdlib', 'platstdlib')),
    ]
    return [path for path in found if os.path.isdir(path)]


def _whole(path: str) -> str:
    """Where a path lies in the trees that are being prepared."""
    _, tree, rest = path.split('/', 2)
    return f'/{tree}/whole/{rest}'


def _made_of(root: pathlib.Path) -> tuple[str, ...] | None:
    try:
        return tuple((root / _STAMP).read_text().split())
    except FileNotFoundError:
        return None


def _fill(release: str, root: pathlib.Path) -> None:
    if shutil.which('debootstrap') is None:
        raise host.LabError(
            '"debootstrap" is not installed; its package is debootstrap '
            '(see bindep.txt).'
        )
    print(f'Making a root of {release}, for a minute', file=sys.stderr)
    done = subprocess.run(
        [
            *('unshare', '--mount', '--pid', '--fork', '--kill-child'),
            *('--mount-proc', 'sh', '-c', _MAKE, 'sh'),
            *(release, _mirror(), str(root), *_PACKAGES),
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
    """Where this machine gets Debian's packages from."""
    found = _output(
        *('apt-get', 'indextargets', '--format', '$(REPO_URI)'),
        *('Created-By: Packages', 'Component: main'),
        *('Origin: Debian', 'Label: Debian'),
    )
    if not found:
        raise host.LabError(
            'apt knows no mirror of Debian; is there one in its sources, and '
            'was "apt-get update" run?'
        )
    return found[0]


def _environment() -> dict[str, str]:
    """What debootstrap and apt run with; only apt reads apt's proxy."""
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
    """The lines that a command prints; none where it does not exist."""
    try:
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True
        )
    except FileNotFoundError:
        return []
    return done.stdout.split()


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Keep others from making the same root at once."""
    ROOTS.mkdir(parents=True, exist_ok=True)
    lock = os.open(ROOTS, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
