# SPDX-License-Identifier: Apache-2.0
"""A loss of power of one host, which then starts again."""

import contextlib
import os
import pathlib
import struct
import subprocess
import uuid
from collections.abc import Iterator

import psutil

from nova_blockcopy.tests.lab import host

_SOURCE = pathlib.Path(__file__).with_name('volatile.c')
_BOOT_ID = '/proc/sys/kernel/random/boot_id'
_HEAD = struct.Struct('=QQ')


class Supply:
    """The power of one host.

    The exports that are started inside of :meth:`volatile` write to a disk
    with a cache, which a loss of power empties.

    :param at: the host
    :param directory: the directory of the lab
    """

    def __init__(self, at: host.Host, directory: pathlib.Path) -> None:
        self._host = at
        self._logs = directory / f'unflushed-{at.name}'
        self._boot_id = directory / f'boot-{at.name}'

    @contextlib.contextmanager
    def volatile(self) -> Iterator[None]:
        """Give the disks of new processes a cache, inside a ``with`` block."""
        self._logs.mkdir(exist_ok=True)
        library = self._logs.with_suffix('.so')
        subprocess.run(
            [
                *('gcc', '-O2', '-Wall', '-shared', '-fPIC'),
                f'-DIMAGES="{self._host.home}"',
                f'-DLOGS="{self._logs}"',
                *('-o', str(library), str(_SOURCE)),
            ],
            check=True,
        )
        before = os.environ.get('LD_PRELOAD')
        os.environ['LD_PRELOAD'] = str(library)
        try:
            yield
        finally:
            del os.environ['LD_PRELOAD']
            if before is not None:
                os.environ['LD_PRELOAD'] = before

    def interrupt(self) -> int:
        """End all processes, lose what was not flushed, and boot again.

        :returns: the number of writes that were lost
        """
        running = self._host.processes()
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(running, timeout=10)
        try:
            return sum(map(self._undo, self._logs.glob('*')))
        finally:
            self._boot()

    def _boot(self) -> None:
        first = not self._boot_id.exists()
        self._boot_id.write_text(f'{uuid.uuid4()}\n')
        if first:
            self._host.run('mount', '--bind', str(self._boot_id), _BOOT_ID)
        self._host.start_libvirtd()
        self._host.wait_for_libvirtd()

    def restore(self) -> None:
        """Give the host the boot id of the machine again."""
        if self._boot_id.exists():
            self._host.run('umount', _BOOT_ID)
            self._boot_id.unlink()

    def _undo(self, log: pathlib.Path) -> int:
        undone = list(_entries(log.read_bytes()))
        log.unlink()
        if undone:
            image = self._host.outside(log.name.replace('|', '/'))
            with image.open('r+b') as f:
                for offset, old in reversed(undone):
                    f.seek(offset)
                    f.write(old)
        return len(undone)


def _entries(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        offset, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        yield offset, data[at : at + length]
        at += length
