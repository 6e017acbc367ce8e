# SPDX-License-Identifier: Apache-2.0
"""Images on the hosts of a lab, of every kind that can be migrated."""

import contextlib
import dataclasses
import pathlib
import random
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO

from nova_blockcopy import model
from nova_blockcopy.tests.lab import failing
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab

_CHUNK = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """An image on one host.

    ``file`` is the path of its file outside the host's namespaces. A block
    device is a loop device over that file.
    """

    image: model.Image
    size_bytes: int
    file: pathlib.Path

    @property
    def path(self) -> str:
        return self.image.path

    @property
    def allocated_bytes(self) -> int:
        return self.file.stat().st_blocks * 512


class Maker:
    """Makes images on one host."""

    def __init__(self, at: host.Host, lab_directory: pathlib.Path) -> None:
        self._host = at
        self._lab_directory = lab_directory

    def block(self, name: str, size_bytes: int) -> Disk:
        """Make a loop device over a sparse file."""
        return self._attached(self._sparse(name, size_bytes), size_bytes)

    def failing(self, name: str, size_bytes: int) -> Disk:
        """Make a loop device whose writes fail on order; one for each host.

        See :mod:`failing`.
        """
        file = self._sparse(name, size_bytes)
        failing.serve(self._host, self._path(name))
        return self._attached(file, size_bytes)

    def _attached(self, file: pathlib.Path, size_bytes: int) -> Disk:
        device = lab.attach(self._lab_directory, file)
        image = model.Image(
            path=device,
            kind=model.ImageKind.BLOCK,
            format=model.ImageFormat.RAW,
        )
        return Disk(image=image, size_bytes=size_bytes, file=file)

    def raw(self, name: str, size_bytes: int) -> Disk:
        """Make a sparse raw file."""
        file = self._sparse(name, size_bytes)
        image = model.Image(
            path=self._path(name),
            kind=model.ImageKind.FILE,
            format=model.ImageFormat.RAW,
        )
        return Disk(image=image, size_bytes=size_bytes, file=file)

    def qcow2(
        self, name: str, size_bytes: int, backing: Disk | None = None
    ) -> Disk:
        """Make a qcow2 file, on top of a backing image if one is given."""
        image = model.Image(
            path=self._path(name),
            kind=model.ImageKind.FILE,
            format=model.ImageFormat.QCOW2,
            backing=backing.image if backing else None,
        )
        self._create(image, size_bytes)
        file = self._host.outside(self._path(name))
        return Disk(image=image, size_bytes=size_bytes, file=file)

    def empty(self, disk: Disk) -> None:
        """Make an image empty again; its backing image stays as it is."""
        if disk.image.format is model.ImageFormat.QCOW2:
            self._create(disk.image, disk.size_bytes)
            return
        if disk.image.kind is model.ImageKind.BLOCK:
            # through the device, so that the page cache forgets its data, too
            self._host.run('blkdiscard', '--force', disk.path)
            return
        self._host.run(
            *('fallocate', '--punch-hole', '--offset', '0'),
            *('--length', str(disk.size_bytes), disk.path),
        )

    def _create(self, image: model.Image, size_bytes: int) -> None:
        create = ['qemu-img', 'create', '-q', '-f', image.format]
        if image.backing is not None:
            below = image.backing
            create += ['-F', below.format, '-b', below.path]
        self._host.run(*create, image.path, str(size_bytes))

    def of_kind(
        self, kind: str, name: str, size_bytes: int, seed: int = 0
    ) -> Disk:
        """Make an image of one kind.

        :param kind: ``block``, ``failing``, ``raw``, ``qcow2``, or
            ``layered`` for a qcow2 on top of a raw file
        :param seed: of the data of the raw file
        """
        if kind != 'layered':
            made: Disk = getattr(self, kind)(name, size_bytes)
            return made
        below = self.raw(f'{name}.backing', size_bytes)
        fill(below.file, seed, size_bytes // 2, size_bytes // 8)
        return self.qcow2(name, size_bytes, below)

    def _path(self, name: str) -> str:
        return str(self._host.images / name)

    def _sparse(self, name: str, size_bytes: int) -> pathlib.Path:
        file = self._host.outside(self._path(name))
        with file.open('wb') as f:
            f.truncate(size_bytes)
        return file


def fill(path: pathlib.Path, seed: int, offset: int, length: int) -> None:
    """Write random bytes, which depend on the seed only.

    :param offset: bytes
    :param length: bytes
    """
    source = random.Random(seed)
    with path.open('r+b') as f:
        f.seek(offset)
        for begin in range(0, length, _CHUNK):
            f.write(source.randbytes(min(_CHUNK, length - begin)))


@contextlib.contextmanager
def opened(at: host.Host, disk: Disk) -> Iterator[IO[bytes]]:
    """Open the guest-visible content of a disk for reading.

    Pause the guest of a qcow2 first: QEMU keeps tables of a qcow2 in memory
    and writes them out when the guest is paused.
    """
    if disk.image.format is model.ImageFormat.RAW:
        with disk.file.open('rb') as f:
            yield f
        return
    convert = ['qemu-img', 'convert', '-U', '-O', 'raw']
    if disk.image.backing is None:
        convert += ['-f', 'qcow2', str(disk.file)]
    else:
        below = at.outside(disk.image.backing.path)
        convert += [
            '--image-opts',
            f'driver=qcow2,file.driver=file,file.filename={disk.file},'
            f'backing.driver=raw,backing.file.driver=file,'
            f'backing.file.filename={below}',
        ]
    with tempfile.NamedTemporaryFile(dir=disk.file.parent.parent) as flat:
        subprocess.run([*convert, flat.name], check=True)
        yield flat


@contextlib.contextmanager
def writable(disk: Disk) -> Iterator[IO[bytes]]:
    """Open a raw disk for writing, without its guest's knowledge."""
    with disk.file.open('r+b') as f:
        yield f
        f.flush()
