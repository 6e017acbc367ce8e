# SPDX-License-Identifier: Apache-2.0
"""The durable record of a migration: one file for each guest and host.

It is written before the act that it names, so that after a crash it tells
what may be half done. It lives outside libvirt, which forgets what it knows
of a disk when a domain is undefined.
"""

import dataclasses
import datetime
import json
import os
import pathlib
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy import wire
from nova_blockcopy.records import durable

#: 1 had an overlay on the destination for each disk, and a state
#: "flattening" in which it was merged.
VERSION = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a record's history, for a person to read."""

    at: str
    state: states.State
    note: str = ''


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that a host must know of a migration after it lost its memory.

    ``mode`` is how the disks travel. ``peer`` is the other host as its
    caller names it, ``home`` and ``destination`` how the two libvirts reach
    each other (on the source only). ``authority`` names the host whose disks
    are the authoritative copy. ``pivoted`` are the disks that live on their
    bases already. ``limits`` are those of disks that the destination slows
    down, as they were before that.
    ``live_xml`` and ``persistent_xml`` are the guest's definitions from
    before the switchover, ``definition`` is the persistent one from before
    anything was changed; empty where there is none.
    """

    version: int = VERSION
    migration: str
    guest: str
    name: str
    role: model.Role
    mode: model.Mode
    peer: str
    state: states.State
    home: model.Endpoint | None = None
    destination: model.Endpoint | None = None
    authority: model.Role = model.Role.SOURCE
    moves: tuple[model.Move, ...] = ()
    exports: tuple[model.Export, ...] = ()
    pivoted: tuple[str, ...] = ()
    limits: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    live_xml: str = ''
    persistent_xml: str = ''
    definition: str = ''
    history: tuple[Entry, ...] = ()


class Journal:
    """The records of one host.

    :param directory: on this host's own disk; made when first needed
    """

    def __init__(self, directory: str) -> None:
        self._directory = pathlib.Path(directory)

    def path(self, guest: str) -> str:
        """The file of one guest, by UUID."""
        return str(self._directory / f'{guest}.json')

    def find(self, guest: str) -> Record | None:
        """Read the record of a guest, by UUID; None if there is none.

        :raises JournalError: there is one, but it cannot be understood
        """
        path = self.path(guest)
        try:
            with open(path, encoding='utf-8') as f:
                data = json.load(f)
            if data.get('version') != VERSION:
                raise exception.JournalError(
                    path=path,
                    reason=f'another version of nova-blockcopy wrote it '
                    f'(format {data.get("version")}, this version has '
                    f'{VERSION}). Install that version on both hosts again, '
                    f'let it settle the migration, then upgrade.',
                )
            return wire.unpack(data, Record)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, AttributeError) as e:
            raise exception.JournalError(
                path=path,
                reason=f'it cannot be read ({e}); nothing was done.',
            ) from e

    def open(self, record: Record) -> Record:
        """Begin a record.

        :raises UnfinishedMigration: the guest has one already
        """
        old = self.find(record.guest)
        if old is not None:
            raise exception.UnfinishedMigration(
                path=self.path(record.guest),
                host=os.uname().nodename,
                guest=record.name,
                state=old.state,
            )
        return self._write(record, '')

    def write(
        self,
        record: Record,
        state: states.State,
        note: str = '',
        **changes: Any,
    ) -> Record:
        """Put a record into a state, durably, before the act it names.

        :param changes: whatever else of it has changed
        :returns: the record as it is now
        :raises InvalidTransition: the state cannot follow the present one
        """
        states.check(record.state, state)
        changed = dataclasses.replace(record, state=state, **changes)
        return self._write(changed, note)

    def close(self, guest: str) -> None:
        """Forget a guest; done twice is done once."""
        durable.remove(self.path(guest))

    def tidy(self) -> None:
        """Remove what a writer left that was killed; nobody may write now."""
        durable.tidy(str(self._directory))

    def guests(self) -> list[str]:
        """The guests, by UUID, that this host has a record of."""
        return sorted(path.stem for path in self._directory.glob('*.json'))

    def _write(self, record: Record, note: str) -> Record:
        now = datetime.datetime.now(datetime.UTC)
        entry = Entry(
            at=now.isoformat(timespec='milliseconds'),
            state=record.state,
            note=note,
        )
        record = dataclasses.replace(record, history=(*record.history, entry))
        try:
            durable.write(self.path(record.guest), wire.pack(record))
        except OSError as e:
            raise exception.JournalError(
                path=self.path(record.guest),
                reason=f'it cannot be written ({e.strerror}); nothing is '
                f'done without it.',
            ) from e
        return record


class Page:
    """The record of one migration in the journal of this host.

    The file is read each time: an operator may have removed it meanwhile.

    :param guest: UUID
    :param migration: its id; a record of another one counts as none
    """

    def __init__(self, journal: Journal, guest: str, migration: str) -> None:
        self.guest = guest
        self.migration = migration
        self._journal = journal

    def find(self) -> Record | None:
        """Read the record; None if there is none.

        :raises JournalError: it cannot be understood
        """
        record = self._journal.find(self.guest)
        if record is None or record.migration != self.migration:
            return None
        return record

    @property
    def record(self) -> Record:
        """The record.

        :raises JournalError: there is none
        """
        record = self.find()
        if record is None:
            raise exception.JournalError(
                path=self._journal.path(self.guest),
                reason=f'it has nothing of migration {self.migration}.',
            )
        return record

    def open(self, record: Record) -> None:
        """Begin the record; see :meth:`Journal.open`."""
        self._journal.open(record)

    def note(
        self, state: states.State, note: str = '', **changes: Any
    ) -> Record:
        """Write the record; see :meth:`Journal.write`."""
        return self._journal.write(self.record, state, note, **changes)

    def close(self) -> None:
        """Forget the migration."""
        self._journal.close(self.guest)
