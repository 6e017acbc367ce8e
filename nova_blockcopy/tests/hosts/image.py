# SPDX-License-Identifier: Apache-2.0
"""The disk that all machines start from.

The image is made once, beside the roots of labs. Each machine writes to an
overlay of its own.
"""

import pathlib
import re
import shutil
import subprocess
import tempfile
from typing import NamedTuple

from nova_blockcopy.tests.lab import root

#: A host for Nova as Debian's packages set it up. The image also has those
#: that the package of this driver depends on.
_PACKAGES = (
    *('systemd', 'systemd-sysv', 'udev', 'dbus', 'polkitd', 'sudo', 'kmod'),
    *('linux-image-cloud-amd64', 'initramfs-tools', 'zstd'),
    *('openssh-server', 'iproute2', 'lvm2', 'apparmor'),
    *('libvirt-daemon-system', 'libvirt-clients'),
    *('libvirt-daemon-driver-qemu', 'qemu-system-x86', 'qemu-utils'),
    *('nova-compute', 'python3-libvirt'),
)
#: Bytes; a hole, for the most part.
_SIZE = 6 * 2**30
#: Names the machine and its network interfaces, by the kernel's command line.
_NETWORK = """#!/bin/sh
set -e
number=$(sed -n 's/.*lab.number=\\([0-9]*\\).*/\\1/p' /proc/cmdline)
hostname "host-$number"
for device in /sys/class/net/*
do
    case $(cat "$device/address") in
        52:54:00:aa:*) address=10.0.2.15 ;;
        52:54:00:bb:*) address=10.99.0.$number ;;
        *) continue ;;
    esac
    ip address add "$address/24" dev "${device##*/}"
    ip link set "${device##*/}" up
done
printf '127.0.0.1 localhost\\n' > /etc/hosts
printf '10.99.0.1 host-1\\n10.99.0.2 host-2\\n' >> /etc/hosts
ssh-keygen -A
"""
_UNIT = """[Unit]
DefaultDependencies=no
Wants=systemd-udev-settle.service
After=systemd-udev-settle.service local-fs.target
Before=network.target ssh.service libvirtd.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-network
[Install]
WantedBy=multi-user.target
"""


class Image(NamedTuple):
    """The files that a machine boots from, and the key for its ssh."""

    kernel: pathlib.Path
    initramfs: pathlib.Path
    disk: pathlib.Path
    key: pathlib.Path


def make(release: str, package: pathlib.Path) -> Image:
    """Make the image of a Debian release, unless it exists already.

    :param package: that of this driver, which a machine installs later
    :raises LabError: the system cannot be made
    """
    packages = dict.fromkeys((*_PACKAGES, *_needs(package)))
    tree = root.make(release, f'{release}-host', tuple(packages))
    disk = tree.with_suffix('.img')
    key = tree.with_suffix('.key')
    if not _is_newer(disk, tree):
        _finish(tree, key)
        with tempfile.TemporaryDirectory(dir=root.ROOTS) as scratch:
            made = pathlib.Path(scratch, 'disk')
            with made.open('wb') as f:
                f.truncate(_SIZE)
            _run('mkfs.ext4', '-q', '-d', tree, made)
            made.rename(disk)
    boot = tree / 'boot'
    return Image(
        kernel=next(boot.glob('vmlinuz-*')),
        initramfs=next(boot.glob('initrd.img-*')),
        disk=disk,
        key=key,
    )


def _needs(package: pathlib.Path) -> list[str]:
    """The names of the packages that a package depends on."""
    listed = subprocess.run(
        ['dpkg-deb', '--field', package, 'Depends'],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return re.findall(r'(?:^|, )([a-z0-9.+-]+)', listed)


def _is_newer(disk: pathlib.Path, tree: pathlib.Path) -> bool:
    """Tell whether a disk exists, and was made from the present tree."""
    return disk.exists() and disk.stat().st_mtime > tree.stat().st_mtime


def _finish(tree: pathlib.Path, key: pathlib.Path) -> None:
    """Add to a system what a machine needs."""
    for path in (key, key.with_suffix('.key.pub')):
        path.unlink(missing_ok=True)
    _run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key)
    home = tree / 'root' / '.ssh'
    home.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(f'{key}.pub', home / 'authorized_keys')
    network = tree / 'usr' / 'local' / 'sbin' / 'lab-network'
    network.write_text(_NETWORK)
    network.chmod(0o755)
    units = tree / 'etc' / 'systemd' / 'system'
    (units / 'lab-network.service').write_text(_UNIT)
    wanted = units / 'multi-user.target.wants' / 'lab-network.service'
    wanted.unlink(missing_ok=True)
    wanted.symlink_to('../lab-network.service')
    masked = units / 'nova-compute.service'
    masked.unlink(missing_ok=True)
    masked.symlink_to('/dev/null')  # there is no message broker
    (tree / 'etc' / 'fstab').write_text('/dev/vda / ext4 defaults 0 1\n')
    (tree / 'etc' / 'machine-id').write_text('')


def _run(*argv: str | pathlib.Path) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
