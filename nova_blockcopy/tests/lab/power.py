# SPDX-License-Identifier: Apache-2.0
"""A loss of power of one host, which then starts again."""

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator

from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import shim as shims

_BOOT_ID = '/proc/sys/kernel/random/boot_id'
#: What a host keeps in memory only: libvirt's state of running guests, and
#: files of the engine.
_FORGOTTEN = ('/run/libvirt/qemu', '/run/nova-blockcopy')


class Supply:
    """The power of one host.

    A loss of power empties the cache of the disks. The processes that are
    started inside of :meth:`volatile` have such a cache; see :mod:`shim` for
    libvirtd and guests.

    :param at: the host
    :param directory: the directory of the lab
    """

    def __init__(self, at: host.Host, directory: pathlib.Path) -> None:
        self._host = at
        self._shim = shims.Shim(at, directory)
        self._boot_id = directory / f'boot-{at.name}'

    @contextlib.contextmanager
    def volatile(self) -> Iterator[None]:
        """Give the disks of new processes a cache, inside a ``with`` block."""
        before = dict(os.environ)
        os.environ.update(self._shim.variables)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def interrupt(self) -> int:
        """End all processes, lose what was not flushed, and boot again.

        :returns: the number of writes that were lost
        """
        try:
            return self.cut()
        finally:
            self.boot()

    def cut(self) -> int:
        """End all processes, and lose what was not flushed.

        :returns: the number of writes that were lost
        """
        self._host.kill(self._host.processes())
        return self._shim.lose()

    def boot(self) -> None:
        """Start the host again after :meth:`cut`."""
        first = not self._boot_id.exists()
        self._boot_id.write_text(f'{uuid.uuid4()}\n')
        if first:
            self._host.run('mount', '--bind', str(self._boot_id), _BOOT_ID)
        self._host.run('rm', '-rf', *_FORGOTTEN)
        self._host.note_boot()
        self._host.start_libvirtd()
        self._host.wait_for_libvirtd()

    def restore(self) -> None:
        """Give the host the boot id of the machine again."""
        if self._boot_id.exists():
            self._host.run('umount', _BOOT_ID)
            self._boot_id.unlink()
