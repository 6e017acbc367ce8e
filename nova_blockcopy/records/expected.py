# SPDX-License-Identifier: Apache-2.0
"""Notes about guests whose bases exist on a destination without a journal.

Nova creates the bases in ``pre_live_migration`` on the destination. The
destination opens its journal at the first message of the engine. Between the
two a note identifies the bases. Without the note a source whose nova-compute
was killed could not know that the bases exist. An evacuation would take the
bases for the disks of an instance on shared storage.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable

from nova_blockcopy import wire
from nova_blockcopy.records import durable


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    """The bases of one guest, and the host that the guest comes from."""

    source: str = ''
    paths: tuple[str, ...] = ()


class Expected:
    """The notes of one host, one file for each guest. On the destination.

    :param directory: the directory of the journals
    """

    def __init__(self, directory: str) -> None:
        self._directory = pathlib.Path(directory) / 'expected'

    def note(self, guest: str, source: str, paths: Iterable[str]) -> None:
        """Write a durable note before Nova creates the bases of a guest.

        :param guest: UUID
        :param source: Nova's name of the host on which the guest runs
        :param paths: the paths of the bases
        :raises OSError: the note cannot be written
        """
        note = _Note(source=source, paths=tuple(paths))
        durable.write(self._path(guest), wire.pack(note))

    def guests(self) -> list[str]:
        """The UUIDs of the guests that have a note."""
        return sorted(path.stem for path in self._directory.glob('*.json'))

    def find(self, guest: str) -> str | None:
        """The host that a guest is expected from, by its name in Nova.

        :param guest: UUID
        :returns: None if there is no note, or if none of the bases exists
        :raises NoteError: the note cannot be read
        """
        source, paths = self.bases(guest)
        return source if any(map(os.path.lexists, paths)) else None

    def bases(self, guest: str) -> tuple[str, frozenset[str]]:
        """The host that a guest is expected from, and the paths of the bases.

        :param guest: UUID
        :returns: empty if there is no note
        :raises NoteError: the note cannot be read
        """
        found = durable.load(self._path(guest), _Note) or _Note()
        return found.source, frozenset(found.paths)

    def forget(self, guest: str) -> None:
        """Remove the note about a guest, if there is one."""
        durable.remove(self._path(guest))

    def _path(self, guest: str) -> str:
        return str(self._directory / f'{os.path.basename(guest)}.json')
