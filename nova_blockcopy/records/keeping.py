# SPDX-License-Identifier: Apache-2.0
"""Notes about the seeded bases that a destination keeps for guests."""

import dataclasses
import os
import pathlib

from nova_blockcopy import exception
from nova_blockcopy import wire
from nova_blockcopy.records import durable
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """The kept bases of one guest: until when, and the volumes among them.

    ``until`` is a time of :func:`time.time`; None if nothing is known.
    """

    until: float | None = None
    volumes: tuple[str, ...] = ()


class Notes:
    """The notes of one host.

    :param directory: the directory of the journals
    """

    def __init__(self, directory: str) -> None:
        self._notes = pathlib.Path(directory) / 'kept'

    def find(self, guest: str) -> Note | None:
        """Read the note about a guest.

        :param guest: UUID
        :returns: None if there is no note; one without values if the note
            cannot be read
        """
        try:
            return durable.load(self._path(guest), Note)
        except exception.NoteError as e:
            # nova-compute must start, and no volume is removed by a guess
            LOG.error(
                '%s It is about kept bases. If Nova has the instance on '
                'another host, remove the volumes that it has here, and then '
                'the note.',
                *(e,),
                instance={'uuid': guest},
            )
            return Note()

    def write(self, guest: str, note: Note) -> None:
        """Replace the note about a guest durably.

        :raises OSError: the note cannot be written
        """
        durable.write(self._path(guest), wire.pack(note))

    def remove(self, guest: str) -> None:
        """Remove the note about a guest durably, if there is one."""
        durable.remove(self._path(guest))

    def has(self, guest: str) -> bool:
        """Whether there is a note about a guest."""
        return os.path.exists(self._path(guest))

    def guests(self) -> list[str]:
        """The UUIDs of the guests that there are notes about."""
        return sorted(path.stem for path in self._notes.glob('*.json'))

    def _path(self, guest: str) -> str:
        return str(self._notes / f'{os.path.basename(guest)}.json')
