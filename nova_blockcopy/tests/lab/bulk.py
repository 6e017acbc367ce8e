# SPDX-License-Identifier: Apache-2.0
"""Copying an image from host a to host b without a guest.

The benchmark compares seeding with other ways by this.
"""

import dataclasses
import json
import os
import resource
import threading
import time
from collections.abc import Callable
from unittest import mock

import psutil

from nova_blockcopy import conf
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy.copies import seeder
from nova_blockcopy.host import checksums
from nova_blockcopy.host import command
from nova_blockcopy.host import confinement
from nova_blockcopy.host import export
from nova_blockcopy.host import images
from nova_blockcopy.host import transfer
from nova_blockcopy.tests.lab import disks
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab
from nova_blockcopy.tests.lab import root
from nova_blockcopy.tests.lab import scene

_MOST_SECONDS = 3600
#: Copies a whole seed, and returns when the copy is on stable storage.
Way = Callable[[model.Seed], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The figures of one run.

    The times of the processors are in seconds, over all programs of a host.
    ``wire_bytes`` counts whole frames on a limited link; 0 if the link is not
    limited.
    """

    seconds: float
    data_bytes: int
    client_cpu_s: float
    server_cpu_s: float
    wire_bytes: int

    @property
    def rate(self) -> float:
        """The image's data in bytes/s."""
        return self.data_bytes / self.seconds


class Bulk:
    """A source image full of data on host a, and a target on host b.

    :param kind: ``block`` or ``raw``
    :param size: bytes
    """

    def __init__(self, it: lab.Lab, kind: str, size: int) -> None:
        self._lab = it
        self._settings = scene.settings(it.a)
        here, there = (disks.Maker(each, it.directory) for each in it.hosts)
        self._source = here.of_kind(kind, 'bulk.img', size)
        self._target = there.of_kind(kind, 'bulk.img', size)
        disks.fill(self._source.file, 1, 0, size)

    def run(self, way: Way, mbit: int | None) -> Run:
        """Empty the target, copy the source, and compare the two.

        :param mbit: rate of the link in Mbit/s; None = no limit
        :raises LabError: the target differs from the source
        """
        self._lab.set_link_rate(mbit)
        self._lab.b.run(
            *('fallocate', '--punch-hole', '--offset', '0'),
            *('--length', str(self._target.size_bytes)),
            str(self._target.file),
        )
        os.sync()  # so that the run does not wait for writes of others
        exporter = export.Exporter(scene.settings(self._lab.a))
        exported = self._lab.a.call(
            exporter.start,
            model.Export(
                disk='vda', address='', port=0, name='x', size_bytes=0, pid=0
            ),
            self._source.image,
        )
        try:
            found = self._lab.b.call(self._measure, way, exported)
        finally:
            self._lab.a.call(exporter.stop, [exported])
        self._check()
        return found

    def _measure(self, way: Way, exported: model.Export) -> Run:
        source = self._source.image
        seed = model.Seed(
            disk='vda',
            source=source,
            target=self._target.image,
            export=exported,
            extents=self._lab.a.call(images.data_extents, source.path),
            size_bytes=exported.size_bytes,
        )
        server = psutil.Process(exported.pid)
        before = _sent(self._lab.a), _cpu(server), _children_cpu()
        began = time.monotonic()
        way(seed)
        seconds = time.monotonic() - began
        return Run(
            seconds=seconds,
            data_bytes=self._source.size_bytes,
            client_cpu_s=_children_cpu() - before[2],
            server_cpu_s=_cpu(server) - before[1],
            wire_bytes=_sent(self._lab.a) - before[0],
        )

    def _check(self) -> None:
        one, other = (
            checksums.of(
                dataclasses.replace(disk.image, path=str(disk.file)),
                extents.units(self._source.size_bytes),
                threading.Event(),
                by_content=False,
                timeout=0,
            )
            for disk in (self._source, self._target)
        )
        if one != other:
            raise host.LabError('The target differs from the source.')


def pieces(
    settings: conf.Settings,
    *,
    workers: int,
    piece: int = extents.PIECE,
    limit: int = 0,
) -> Way:
    """Copy as the engine does: by ``qemu-img convert``, piece by piece.

    :param workers: pieces that are copied at a time
    :param piece: largest size of a piece in bytes
    :param limit: bytes/s for all workers together; 0 = no limit
    """

    def copy(seed: model.Seed) -> None:
        with mock.patch.object(extents, 'PIECE', piece):
            seeder.Seeder(
                'bench',
                [seed],
                dataclasses.replace(settings, seed_workers=workers),
                limit,
                lambda _disk, _piece: None,
            ).run(threading.Event(), lambda _state, _disks: None)

    return copy


def whole(seed: model.Seed) -> None:
    """Copy the whole image by one ``qemu-img convert``."""
    transfer.run(
        seed,
        model.Extent(offset=0, length=seed.size_bytes),
        rate=0,
        zeroed=transfer.begin(seed, seed.size_bytes),
        encryption=None,
        timeout=_MOST_SECONDS,
    )


def nbdcopy(seed: model.Seed) -> None:
    """Copy by libnbd's ``nbdcopy``, which has no rate limit."""
    at = seed.export
    zeroed = transfer.begin(seed, seed.size_bytes)
    command.run(
        *('nbdcopy', '--flush'),
        *(('--destination-is-zero',) if zeroed else ()),
        *(f'nbd://{at.address}:{at.port}/{at.name}', seed.target.path),
        confined=confinement.KEPT,
        timeout=_MOST_SECONDS,
    )


def has_nbdcopy() -> bool:
    return root.which('nbdcopy') is not None


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def _children_cpu() -> float:
    """Return the processor seconds of this process's ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sent(at: host.Host) -> int:
    """Return the bytes that a limited link has passed, with all headers."""
    shown = at.run('tc', '-s', '-j', 'qdisc', 'show', 'dev', 'eth0').stdout
    return sum(
        int(found['bytes'])
        for found in json.loads(shown)
        if found['kind'] == 'tbf'
    )
