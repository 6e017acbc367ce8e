# SPDX-License-Identifier: Apache-2.0
"""The journal of one migration on the source."""

from typing import Any

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import boot
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import monitor
from nova_blockcopy.records import journal as journals


def first(guest: hypervisor.Guest, **values: Any) -> journals.Record:
    """Make the first record of the migration of a guest.

    :param values: the fields of the record that the guest does not tell
    :raises HypervisorError: libvirt does not answer
    """
    definition = guest.persistent_xml() or ''
    return journals.Record(
        guest=guest.uuid,
        name=guest.name,
        role=model.Role.SOURCE,
        boot=boot.current(),
        state=states.State.PREPARING,
        live_xml=guest.live_xml(),
        persistent_xml=definition,
        definition=definition,
        **values,
    )


class Ledger:
    """The record of one migration, which only the steps of it write.

    :param record: the present record, or the first record of a new migration
    :param told: hears of each entry
    """

    def __init__(
        self,
        journal: journals.Journal,
        record: journals.Record,
        told: monitor.Monitor,
    ) -> None:
        self.record = record
        self._journal = journal
        self._told = told

    @property
    def path(self) -> str:
        """The file of the journal."""
        return self._journal.path(self.record.guest)

    def open(self) -> None:
        """Begin the record.

        :raises UnfinishedMigration: the guest already has a journal
        :raises JournalError: the journal cannot be read or written
        """
        self.record = self._journal.open(self.record)
        self._told.enter(self.record)

    def note(
        self,
        state: states.State | None = None,
        note: str = '',
        **changes: Any,
    ) -> None:
        """Write the record, before the act of the state.

        :param state: None = the present state
        :param note: for people who read the history
        :param changes: new values for fields of the record
        :raises JournalError: the journal cannot be written; do not act
        """
        self.record = self._journal.write(
            self.record, state or self.record.state, note, **changes
        )
        self._told.enter(self.record)

    def close(self) -> None:
        """Remove the journal's file; ``record`` keeps the last value."""
        self._journal.close(self.record.guest)

    def exports(self) -> dict[str, tuple[model.Export, ...]]:
        """The exports of each disk, with that of the top layer first."""
        return {
            move.disk: tuple(
                export
                for export in self.record.exports
                if export.disk == move.disk
            )
            for move in self.record.moves
        }
