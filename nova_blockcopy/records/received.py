# SPDX-License-Identifier: Apache-2.0
"""Notes about seeded data in the bases of a guest, one file for each guest.

The notes outlive a migration that was undone, so that the next attempt can
reuse the data. They are only hints: the next attempt proves the data by
checksums. The code runs on the destination.
"""

import dataclasses
import os
import pathlib
import threading
import time
from collections.abc import Iterable

from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.records import durable
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

#: Seconds between two writes of the file while data arrive.
_INTERVAL = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One base: its identity, and the extents that were filled.

    ``base`` and ``size_bytes`` (as a guest sees it) describe the base from
    before the seeding. Seeding overwrites the header of a qcow2 base, so the
    two cannot be read from the header later.
    """

    identity: model.ImageIdentity
    base: model.Image
    size_bytes: int
    extents: tuple[model.Extent, ...] = ()


def guests(directory: str) -> list[str]:
    """The UUIDs of the guests that have notes.

    :param directory: the directory of the journals
    """
    place = pathlib.Path(directory) / 'received'
    return sorted(path.stem for path in place.glob('*.json'))


def are_gone(directory: str, guest: str) -> bool:
    """Whether none of the bases exists that the notes of a guest are about.

    :param directory: the directory of the journals
    :param guest: UUID
    :raises NoteError: the notes cannot be read
    """
    path = _path(directory, guest)
    known = durable.load(path, dict[str, Received]) or {}
    return not any(os.path.lexists(each.base.path) for each in known.values())


def _path(directory: str, guest: str) -> str:
    return os.path.join(directory, 'received', f'{guest}.json')


class Book:
    """The notes about the bases of one guest. Thread-safe.

    :param directory: the directory of the journals
    :param guest: UUID
    """

    def __init__(self, directory: str, guest: str) -> None:
        self._path = _path(directory, guest)
        self._lock = threading.Lock()
        self._written_at = 0.0
        self._known = self._read()
        #: Extents that are not yet in ``_known``, because a join takes time.
        self._more: dict[str, list[model.Extent]] = {}

    def of(self, disk: str, identity: model.ImageIdentity) -> Received | None:
        """The note about the base of a disk.

        :param identity: the identity of the present base
        :returns: None if there is no note, or if it is about another image
        """
        with self._lock:
            self._join()
            known = self._known.get(disk)
        if known is None or known.identity != identity:
            return None
        return known

    def bases(self) -> list[Received]:
        """The notes about all bases of the guest."""
        return list(self.by_disk().values())

    def by_disk(self) -> dict[str, Received]:
        """The same, by the disk of each."""
        with self._lock:
            self._join()
            return dict(self._known)

    def begin(self, disk: str, base: Received) -> None:
        """Replace the note about a base that is filled from the beginning."""
        with self._lock:
            self._join()
            self._known[disk] = base
            self._write()

    def add(self, disk: str, more: Iterable[model.Extent]) -> None:
        """Note that extents of a base were filled.

        The file is written at most once a second.
        """
        with self._lock:
            self._more.setdefault(disk, []).extend(more)
            if time.monotonic() - self._written_at > _INTERVAL:
                self._write()

    def save(self) -> None:
        """Write the file."""
        with self._lock:
            self._write()

    def close(self) -> None:
        """Remove the file, and all notes of the guest with it."""
        with self._lock:
            self._known, self._more = {}, {}
            durable.remove(self._path)

    def _read(self) -> dict[str, Received]:
        try:
            return durable.load(self._path, dict[str, Received]) or {}
        except exception.NoteError as e:
            LOG.warning('%s All data is seeded again.', e)
            return {}

    def _join(self) -> None:
        for disk, more in self._more.items():
            known = self._known.get(disk)
            if known is not None:
                self._known[disk] = dataclasses.replace(
                    known, extents=extents.joined((*known.extents, *more))
                )
        self._more = {}

    def _write(self) -> None:
        self._join()
        try:
            durable.write(self._path, wire.pack(self._known))
        except OSError as e:  # the notes are hints, the migration goes on
            LOG.warning(
                'The note of seeded data %s cannot be written: %s',
                self._path,
                e,
            )
        self._written_at = time.monotonic()
