# SPDX-License-Identifier: Apache-2.0
"""The kernel and the root file system of the test guest.

The kernel is a package of the distribution. The package is downloaded and
unpacked into a cache, so the machine's own boot does not change. The root
file system has the lab's own init (init.c).
"""

import functools
import hashlib
import lzma
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile

from nova_blockcopy.tests.lab import host

_MODULES = (
    'virtio_ring',
    'virtio',
    'virtio_pci_legacy_dev',
    'virtio_pci_modern_dev',
    'virtio_pci',
    'virtio_blk',
    'pvpanic',
    'pvpanic-mmio',
)
#: Meta packages of a small kernel, by distribution.
_META = {'debian': 'linux-image-cloud-amd64', 'ubuntu': 'linux-image-virtual'}
_INIT = pathlib.Path(__file__).with_name('init.c')
#: The names of the files on a host.
KERNEL, INITRAMFS = 'kernel', 'initramfs'


def cache() -> pathlib.Path:
    """Return the directory that keeps kernels between labs."""
    default = pathlib.Path.home() / '.cache' / 'nova-blockcopy'
    path = pathlib.Path(os.environ.get('NOVA_BLOCKCOPY_CACHE', default))
    path.mkdir(parents=True, exist_ok=True)
    return path


@functools.cache
def image() -> pathlib.Path:
    """Return the path of the kernel, and download the kernel if needed."""
    target = cache() / 'kernel'
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=cache()) as scratch:
            unpacked = _fetch(pathlib.Path(scratch))
            # renamed when complete, as another process may do the same
            if not target.is_dir():
                os.rename(unpacked, target)
    return next(target.glob('boot/vmlinuz-*'))


def copy(directory: pathlib.Path) -> None:
    """Copy the kernel and the initramfs into a directory of a host."""
    shutil.copyfile(image(), directory / KERNEL)
    shutil.copyfile(initramfs(), directory / INITRAMFS)


@functools.cache
def initramfs() -> pathlib.Path:
    """Return the path of the initramfs: our init and the disks' modules."""
    key = hashlib.sha256(_INIT.read_bytes() + f'{image()} {_MODULES}'.encode())
    target = cache() / f'initramfs-{key.hexdigest()[:16]}'
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as scratch:
            root = pathlib.Path(scratch) / 'root'
            root.mkdir()
            _run('gcc', '-O2', '-Wall', '-static', '-o', f'{root}/init', _INIT)
            for name in _MODULES:
                _copy_module(name, root)
            archive = pathlib.Path(scratch) / 'archive'
            with archive.open('wb') as out:
                names = ['init', *sorted(os.listdir(root))]
                subprocess.run(
                    ['cpio', '--create', '--format=newc', '--quiet'],
                    cwd=root,
                    check=True,
                    input='\n'.join(dict.fromkeys(names)).encode(),
                    stdout=out,
                )
            os.rename(archive, target)
    return target


def _fetch(scratch: pathlib.Path) -> pathlib.Path:
    system = platform.freedesktop_os_release()
    names = [system['ID'], *system.get('ID_LIKE', '').split()]
    meta = next((_META[name] for name in names if name in _META), None)
    if meta is None:
        raise host.LabError(
            f'The lab has no kernel package for {system["ID"]}; use Debian '
            f'or Ubuntu.'
        )
    for package in _kernel_packages(meta):
        _run('apt-get', 'download', '-qq', package, cwd=scratch)
    for archive in scratch.glob('*.deb'):
        _run('dpkg', '-x', archive, scratch / 'unpacked')
    return scratch / 'unpacked'


def _kernel_packages(meta: str) -> list[str]:
    """Return the packages with a kernel that a meta package depends on."""
    wanted = ('linux-image-', 'linux-modules-')
    found: list[str] = []
    ahead = [meta]
    while ahead:
        name = ahead.pop()
        lines = _run('apt-cache', 'depends', '--important', name).splitlines()
        needs = [line.split()[-1] for line in lines if 'Depends: ' in line]
        kernels = [need for need in needs if need.startswith(wanted)]
        if name != meta:
            found.append(name)
        ahead += [need for need in kernels if need not in (*found, *ahead)]
    if not found:
        raise host.LabError(
            f'Package {meta} depends on no kernel; run "apt-get update".'
        )
    return found


def _copy_module(name: str, root: pathlib.Path) -> None:
    tree = image().parent.parent
    for found in tree.rglob(f'{name}.ko*'):
        target = root / f'{name}.ko'
        if found.suffix == '.xz':
            target.write_bytes(lzma.decompress(found.read_bytes()))
        elif found.suffix == '.zst':
            _run('zstd', '-dqf', found, '-o', target)
        else:
            shutil.copy(found, target)


def _run(*argv: str | pathlib.Path, cwd: pathlib.Path | None = None) -> str:
    done = subprocess.run(
        argv, cwd=cwd, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise host.LabError(
            f'"{argv[0]}" failed while the test guest was made: '
            f'{done.stderr.strip()}'
        )
    return done.stdout
