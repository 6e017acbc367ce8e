# SPDX-License-Identifier: Apache-2.0
"""The journal: one durable file for each migrating guest on each host.

The engine writes the journal before each act. After a crash the journal names
the act that may be half done. The journal is not kept in libvirt, because
libvirt forgets the metadata of a domain when the domain is undefined.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy import wire
from nova_blockcopy.records import durable
from nova_blockcopy.records import lock
from nova_blockcopy.records import report

#: The version of the format. Version 1 had an overlay for each disk on the
#: destination, and a state "flattening" in which the overlay was merged.
VERSION = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a record's history, for an operator to read.

    ``at`` is the time in UTC, in ISO 8601.
    """

    at: str
    state: states.State
    note: wire.Text = ''


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The facts about a migration that a host needs after a crash.

    On both hosts:

    * ``migration``: the id of the migration
    * ``guest``: the UUID of the guest, and ``name`` its name
    * ``role``: the side of this host
    * ``peer``: the other host, as the caller of the engine names it
    * ``state``: the act that is about to be done, or is being done
    * ``moves``: the disks that move; only the source knows their deltas
    * ``authority``: the side whose disks are the authoritative copy
    * ``paused``: the engine has paused the guest, and has to resume it
    * ``persistent_xml``: the persistent definition from before the
      switchover; empty for a transient guest. The destination has it from the
      copy on.
    * ``boot``: the boot id of the source from the begin of the migration

    On the source only:

    * ``home``: how the destination's libvirt reaches this host
    * ``destination``: how this host's libvirt reaches the destination
    * ``exports``: the exports that are served or about to be served
    * ``live_xml``: the running definition from before the switchover, in
      seeded mode with the deltas of the last freeze
    * ``definition``: the persistent definition from before the migration;
      empty for a transient guest
    * ``held``: both journals stay open in state SETTLED until the caller of
      the engine has done its own part
    * ``aborted``: somebody has asked for the undo
    * ``memo``: data of the caller for its own part; the engine does not read
      them

    On the destination only:

    * ``pivoted``: the disks that are proven to be on their bases
    * ``limits``: the I/O limits of each disk from before the engine slowed
      the guest down, by libvirt's names; empty at all other times
    """

    version: int = VERSION
    migration: str
    guest: str
    name: str
    role: model.Role
    mode: model.Mode
    peer: str
    boot: str = ''
    state: states.State
    home: model.Endpoint | None = None
    destination: model.Endpoint | None = None
    authority: model.Role = model.Role.SOURCE
    paused: bool = False
    moves: tuple[model.Move, ...] = ()
    exports: tuple[model.Export, ...] = ()
    pivoted: tuple[str, ...] = ()
    limits: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    live_xml: wire.Text = ''
    persistent_xml: wire.Text = ''
    definition: wire.Text = ''
    held: bool = False
    aborted: bool = False
    memo: dict[str, Any] = dataclasses.field(default_factory=dict)
    history: tuple[Entry, ...] = ()


class Journal:
    """The records of one host.

    :param directory: a directory on a disk of this host, which is created
        when it is first needed
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._directory = pathlib.Path(directory)

    def path(self, guest: str) -> str:
        """The file of one guest, by UUID."""
        return str(self._directory / f'{guest}.json')

    def find(self, guest: str) -> Record | None:
        """Read the record of a guest.

        :param guest: UUID
        :returns: None if the guest has no record
        :raises JournalError: the record cannot be read, or has another version
        """
        path = self.path(guest)
        try:
            data = durable.read(path)
            if data is None:
                return None
            if not isinstance(data, dict):
                raise ValueError('it is no record of a migration')
            if data.get('version') != VERSION:
                raise exception.JournalError(
                    path=path,
                    reason=f'another version of nova-blockcopy wrote it '
                    f'(format {wire.brief(data.get("version"))}, this has '
                    f'{VERSION}). Install that version on both hosts again, '
                    f'let it settle the migration, then upgrade.',
                )
            record = wire.unpack(data, Record)
            if record.guest != guest:
                raise ValueError(f'it is about guest {record.guest}')
        except (OSError, ValueError) as e:
            raise exception.JournalError(
                path=path,
                reason=f'it cannot be read ({durable.why(e)}), so nothing was '
                f'done. Make it readable, or repair it by hand.',
            ) from e
        return record

    def open(self, record: Record) -> Record:
        """Write the first entry of a record.

        :returns: the record with its first entry
        :raises UnfinishedMigration: the guest already has a record
        :raises JournalError: the record cannot be read or written
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
        """Write a record with a new state, durably, before the act.

        :param note: for the history
        :param changes: new values of other fields of the record
        :returns: the new record
        :raises InvalidTransition: the state cannot follow the present state
        :raises JournalError: the record cannot be written
        """
        states.check(record.state, state)
        changed = dataclasses.replace(record, state=state, **changes)
        return self._write(changed, note)

    def close(self, guest: str) -> None:
        """Remove the record of a guest, if there is one, and its report."""
        durable.remove(self.path(guest))
        report.Reports(str(self._directory)).remove(guest)

    def tidy(self) -> None:
        """Remove the temporary files of killed writers.

        No other thread or process may write to the journal at the same time.
        """
        durable.tidy(str(self._directory))
        lock.tidy(str(self._directory))

    def guests(self) -> list[str]:
        """The UUIDs of the guests that have a record on this host."""
        return sorted(path.stem for path in self._directory.glob('*.json'))

    def _write(self, record: Record, note: str) -> Record:
        entry = Entry(at=durable.now(), state=record.state, note=note)
        record = dataclasses.replace(record, history=(*record.history, entry))
        try:
            durable.write(self.path(record.guest), wire.pack(record))
        except OSError as e:
            raise exception.JournalError(
                path=self.path(record.guest),
                reason=f'it cannot be written ({e.strerror}), so the '
                f'migration does not go on. Check the file system of '
                f'[blockcopy] journal_dir.',
            ) from e
        return record


class Page:
    """The record of one migration in the journal of this host.

    Each access reads the file, because an operator may have removed it.
    ``told`` hears of each entry.

    :param guest: UUID
    :param migration: the id of the migration; the page ignores the record of
        another migration
    """

    def __init__(self, journal: Journal, guest: str, migration: str) -> None:
        self.guest = guest
        self.migration = migration
        self.told: Callable[[Record], None] = lambda _record: None
        self._journal = journal

    def find(self) -> Record | None:
        """Read the record.

        :returns: None if the migration has no record
        :raises JournalError: the record cannot be read, or has another version
        """
        record = self._journal.find(self.guest)
        if record is None or record.migration != self.migration:
            return None
        return record

    @property
    def record(self) -> Record:
        """The record, read from the file.

        :raises JournalError: the migration has no record, or it cannot be read
        """
        record = self.find()
        if record is None:
            raise exception.JournalError(
                path=self._journal.path(self.guest),
                reason=f'it has no record of migration {self.migration}. Find '
                f'out who has removed it.',
            )
        return record

    def open(self, record: Record) -> None:
        """Write the first entry of the record; see :meth:`Journal.open`."""
        self.told(self._journal.open(record))

    def note(
        self, state: states.State, note: str = '', **changes: Any
    ) -> Record:
        """Write the record with a new state; see :meth:`Journal.write`."""
        written = self._journal.write(self.record, state, note, **changes)
        self.told(written)
        return written

    def close(self) -> None:
        """Remove the record of the guest."""
        self._journal.close(self.guest)
