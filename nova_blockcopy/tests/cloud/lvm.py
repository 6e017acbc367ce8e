# SPDX-License-Identifier: Apache-2.0
"""LVM volumes on a compute host, or a stand-in for LVM.

On a machine without device-mapper, this module replaces the four commands
that Nova runs. A volume of the stand-in is a sparse file with a loop device.
The stand-in has neither thin volumes nor snapshots.
"""

import fcntl
import itertools
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator

from nova_blockcopy.tests.cloud import hosts
from nova_blockcopy.tests.cloud import service
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab

#: Bytes of a volume group; only written data takes space.
SIZE = 16 << 30
_EXTENT = 4 << 20
#: The exit code of LVM's commands after a failure.
_FAILED = 5
_NAMES = ('lvcreate', 'lvremove', 'lvs', 'vgs')


class Volumes:
    """The volume group of a compute host.

    :param at: the host
    :param lab_directory: the directory of the lab, which later detaches
        the loop devices
    """

    def __init__(self, at: host.Host, lab_directory: pathlib.Path) -> None:
        self._host = at
        self._lab_directory = lab_directory
        self._files = at.outside(at.home) / 'volumes'
        self._real = has_device_mapper()
        #: The whole machine sees real groups, so their names are unique.
        self.group = f'nbc-{at.name}' if self._real else hosts.GROUP
        #: The first directory of PATH on the host, with the stand-in.
        self.commands = at.directory / 'shims'

    def up(self) -> None:
        """Make an empty volume group."""
        self._files.mkdir()
        self.commands.mkdir()
        if self._real:
            self._create_group()
            return
        for name in _NAMES:
            script = self.commands / name
            script.write_text(
                f'#!/bin/sh\n'
                f'exec {service.program("python")} '
                f'-m nova_blockcopy.tests.cloud.lvm '
                f'{self._host.home}/volumes {self._lab_directory}/loops '
                f'{name} "$@"\n'
            )
            script.chmod(0o755)

    def down(self) -> None:
        """Remove the volume group, which must not be in use."""
        if self._real and self._files.is_dir():
            _run('vgremove', '--force', '--yes', self.group)

    def names(self) -> list[str]:
        """Return the names of all volumes."""
        lvs = self.commands / 'lvs' if not self._real else 'lvs'
        listed = self._host.run(
            *(str(lvs), '--noheadings', '-o', 'lv_name', self.group)
        )
        return listed.stdout.split()

    def _create_group(self) -> None:
        # untested, because no test machine has device-mapper
        file = self._files / 'group'
        with file.open('wb') as f:
            f.truncate(SIZE)
        device = lab.attach(self._lab_directory, file)
        _run('vgcreate', '--yes', self.group, device)


class StandIn:
    """The stand-in for the LVM commands that Nova runs.

    :param files: the directory of the volumes' files
    :param loops: the directory with an entry for each loop device in use
    """

    def __init__(self, files: pathlib.Path, loops: pathlib.Path) -> None:
        self._files = files
        self._loops = loops
        self._devices = pathlib.Path('/dev') / hosts.GROUP

    def run(self, command: str, arguments: list[str]) -> str:
        """Run a command and return its output.

        :raises ValueError: the command failed; the message is LVM's
        """
        commands: dict[str, Callable[[list[str]], str]] = {
            'lvcreate': self._create,
            'lvremove': self._remove,
            'lvs': self._list,
            'vgs': self._group,
        }
        lock = os.open(self._files, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return commands[command](arguments)

    def _create(self, arguments: list[str]) -> str:
        given = dict(itertools.pairwise(arguments))
        asked = given.get('--virtualsize') or given['-L']
        size = int(asked.rstrip('bB')) + _EXTENT - 1
        size -= size % _EXTENT
        name = given['-n']
        if (self._files / name).exists():
            raise ValueError(f'Logical Volume "{name}" already exists')
        if size > self._free():
            raise ValueError('Volume group has insufficient free space')
        with (self._files / name).open('wb') as f:
            f.truncate(size)
        device = lab.attach(self._loops.parent, self._files / name)
        (self._devices / name).symlink_to(device)
        return f'Logical volume "{name}" created.'

    def _remove(self, arguments: list[str]) -> str:
        name = self._named(arguments)
        device = (self._devices / name).readlink()
        if any(_users(device)):
            raise ValueError(f'Logical volume {hosts.GROUP}/{name} in use.')
        # removed first: after the detach, another lab may get the same device
        (self._loops / device.name).unlink()
        lab.detach(device)
        (self._devices / name).unlink()
        (self._files / name).unlink()
        return f'Logical volume "{name}" successfully removed'

    def _list(self, arguments: list[str]) -> str:
        if 'vg_all,lv_all' not in arguments:
            return '\n'.join(f'  {file.name}' for file in self._all())
        name = self._named(arguments)
        size = (self._files / name).stat().st_size
        return (
            f'  VG|LV|LSize|Path\n'
            f'  {hosts.GROUP}|{name}|{size}B|{self._devices / name}'
        )

    def _group(self, _arguments: list[str]) -> str:
        return f'  {SIZE}|{self._free()}'

    def _all(self) -> list[pathlib.Path]:
        return sorted(self._files.iterdir())

    def _free(self) -> int:
        return SIZE - sum(file.stat().st_size for file in self._all())

    def _named(self, arguments: list[str]) -> str:
        name = pathlib.Path(arguments[-1]).name
        if not (self._files / name).exists():
            raise ValueError(
                f'Failed to find logical volume "{arguments[-1]}"'
            )
        return name


def has_device_mapper() -> bool:
    """Tell whether this machine can have real LVM volumes."""
    if shutil.which('lvcreate') is None:
        return False
    try:
        os.close(os.open('/dev/mapper/control', os.O_RDWR))
    except OSError:
        return False
    return True


def _users(device: pathlib.Path) -> Iterator[str]:
    """Yield the ids of processes that have a device open."""
    for entry in pathlib.Path('/proc').glob('[0-9]*/fd/*'):
        try:
            if entry.readlink() == device:
                yield entry.parts[2]
        except OSError:
            continue


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def main(files: str, loops: str, command: str, *arguments: str) -> int:
    """Run a command of the stand-in, and return its exit code."""
    it = StandIn(pathlib.Path(files), pathlib.Path(loops))
    try:
        print(it.run(command, list(arguments)))
    except ValueError as e:
        print(f'  {e}', file=sys.stderr)
        return _FAILED
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
