# SPDX-License-Identifier: Apache-2.0
"""What has been seeded into the bases of a guest: one file for each guest.

It outlives a migration that was taken back, so that the next one need not
begin anew. It is a hint: what it says is proven by checksums before it is
relied on.
"""

import dataclasses
import os
import threading
import time
from collections.abc import Iterable

from oslo_log import log as logging

from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.records import durable

LOG = logging.getLogger(__name__)

#: Seconds between two writings of what arrives all the time.
_INTERVAL = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Of one base: which image it is, and where it has been filled.

    ``base`` and ``size_bytes`` are what it was made as: the header of a qcow2
    is filled, too.
    """

    identity: model.ImageIdentity
    base: model.Image
    size_bytes: int
    extents: tuple[model.Extent, ...] = ()


class Book:
    """What the bases of one guest have received. Thread-safe.

    :param directory: of the journals
    :param guest: UUID
    """

    def __init__(self, directory: str, guest: str) -> None:
        self._path = os.path.join(directory, 'received', f'{guest}.json')
        self._lock = threading.Lock()
        self._written_at = 0.0
        self._known = self._read()
        #: What is not among the known yet: joining takes time.
        self._more: dict[str, list[model.Extent]] = {}

    def of(self, disk: str, identity: model.ImageIdentity) -> Received | None:
        """What is known of a base; None if it is another one now."""
        with self._lock:
            self._join()
            known = self._known.get(disk)
        if known is None or known.identity != identity:
            return None
        return known

    def bases(self) -> list[Received]:
        """All bases that something is known of."""
        with self._lock:
            self._join()
            return list(self._known.values())

    def begin(self, disk: str, base: Received) -> None:
        """Forget what was known of a base: it is filled anew."""
        with self._lock:
            self._join()
            self._known[disk] = base
            self._write()

    def add(self, disk: str, more: Iterable[model.Extent]) -> None:
        with self._lock:
            self._more.setdefault(disk, []).extend(more)
            if time.monotonic() - self._written_at > _INTERVAL:
                self._write()

    def save(self) -> None:
        with self._lock:
            self._write()

    def close(self) -> None:
        """Forget all of it."""
        with self._lock:
            self._known, self._more = {}, {}
            durable.remove(self._path)

    def _read(self) -> dict[str, Received]:
        try:
            return wire.unpack(
                durable.read(self._path) or {}, dict[str, Received]
            )
        except (OSError, ValueError) as e:
            LOG.warning('%s is of no use, all is copied: %s', self._path, e)
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
        except OSError as e:  # it is a hint only
            LOG.warning('%s cannot be written: %s', self._path, e)
        self._written_at = time.monotonic()
