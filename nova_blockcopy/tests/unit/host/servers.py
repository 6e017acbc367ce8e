# SPDX-License-Identifier: Apache-2.0
"""Servers of exports, for tests that start real ones."""

import ctypes
import socket

import fixtures
import psutil

from nova_blockcopy import model
from nova_blockcopy.host import export
from nova_blockcopy.host import transfer
from nova_blockcopy.tests.unit import samples


class Orphans(fixtures.Fixture):
    """Servers that put themselves into the background become our children.

    Else they would be left to an init that may be slow to bury them.
    """

    _PR_SET_CHILD_SUBREAPER = 36

    def _setUp(self):
        libc = ctypes.CDLL(None, use_errno=True)
        self.addCleanup(libc.prctl, self._PR_SET_CHILD_SUBREAPER, 0)
        if libc.prctl(self._PR_SET_CHILD_SUBREAPER, 1):
            raise OSError(ctypes.get_errno(), 'prctl')


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as found:
        return found.getsockname()[1]


def exporter(directory, first, count, **options):
    """One of a host that has so many ports from the first one on."""
    return export.Exporter(
        samples.settings(
            directory,
            export_port_min=first,
            export_port_max=first + count - 1,
            **options,
        )
    )


def runs(pid):
    """Whether a process is there, and not just waiting to be buried."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def planned(name, **changes):
    return samples.export('vda', 0, name=name, pid=0, **changes)


def seed(image, exported, directory, target):
    """Copy a whole export into a file, by TLS.

    :param directory: the certificates of the destination
    """
    whole = model.Extent(offset=0, length=exported.size_bytes)
    transfer.run(
        model.Seed(
            disk=exported.disk,
            source=image,
            target=samples.image(str(target), samples.FILE),
            export=exported,
            extents=(whole,),
            size_bytes=whole.length,
        ),
        whole,
        rate=0,
        zeroed=True,
        encryption=model.Encryption(
            directory=str(directory), side=model.Side.CLIENT
        ),
        timeout=30,
    )
