# SPDX-License-Identifier: Apache-2.0
"""A library between the programs of a host and its disks (shim.c).

The disks have a cache that a loss of power empties, and their reads fail on
order.
"""

import pathlib
import struct
import subprocess
from collections.abc import Iterator

from nova_blockcopy.tests.lab import host

_SOURCE = pathlib.Path(__file__).with_name('shim.c')
_HEAD = struct.Struct('=QQ')


class Shim:
    """The library on one host.

    :param at: the host
    :param directory: the directory of the lab
    """

    def __init__(self, at: host.Host, directory: pathlib.Path) -> None:
        self._host = at
        self._directory = directory / f'shim-{at.name}'
        self._logs = self._directory / 'unflushed'
        self._failing = self._directory / 'failing'

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that has the library."""
        library = self._directory / 'shim.so'
        if not library.exists():
            self._logs.mkdir(parents=True)
            # programs of any user write there
            self._logs.chmod(0o777)
            self._build(library)
        return {'LD_PRELOAD': str(library)}

    def _build(self, library: pathlib.Path) -> None:
        paths = {
            'HOME': self._host.home,
            'IMAGES': self._host.images,
            'LOGS': self._logs,
            'FAILING': self._failing,
        }
        subprocess.run(
            [
                *('gcc', '-O2', '-Wall', '-shared', '-fPIC'),
                *(f'-D{name}="{path}"' for name, path in paths.items()),
                *('-o', str(library), str(_SOURCE)),
            ],
            check=True,
        )

    def fit(self, *, wanted: bool) -> None:
        """Give libvirtd and later guests the library, or take it away.

        libvirtd restarts if that is a change. The host has no guests.
        """
        self.fail_reads(failing=False)
        for log in self._logs.glob('*'):
            log.unlink()
        variables = self.variables if wanted else {}
        if variables != self._host.variables:
            self._host.variables = variables
            self._host.kill(
                p for p in self._host.processes() if p.name() == 'libvirtd'
            )
            self._host.start_libvirtd()
            self._host.wait_for_libvirtd()

    def fail_reads(self, *, failing: bool) -> None:
        """Let each read of an image fail with EIO from now on, or work."""
        if failing:
            self._failing.touch()
        else:
            self._failing.unlink(missing_ok=True)

    def lose(self) -> int:
        """Lose what was not flushed; the host has no processes.

        :returns: the number of writes that were lost
        """
        files = dict(self._files())
        lost = 0
        for log in self._logs.glob('*'):
            undone = list(entries(log.read_bytes()))
            log.unlink()
            if undone and log.name in files:  # which may have been removed
                _undo(files[log.name], undone)
                lost += len(undone)
        return lost

    def _files(self) -> Iterator[tuple[str, pathlib.Path]]:
        """Yield the files of the host by the names that their logs have."""
        root = pathlib.Path(f'/proc/{self._host.pid}/root')
        home = pathlib.Path(f'{root}{self._host.home}')
        for path in (*home.rglob('*'), *root.glob('dev/loop*')):
            found = path.lstat()
            yield f'{found.st_dev}-{found.st_ino}', path


def entries(log: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the offsets and the old data of a log, the oldest first."""
    at = 0
    while at < len(log):
        offset, length = _HEAD.unpack_from(log, at)
        at += _HEAD.size
        yield offset, log[at : at + length]
        at += length


def _undo(path: pathlib.Path, writes: list[tuple[int, bytes]]) -> None:
    with path.open('r+b') as f:
        for offset, old in reversed(writes):
            f.seek(offset)
            f.write(old)
