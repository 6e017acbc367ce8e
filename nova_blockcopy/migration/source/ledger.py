# SPDX-License-Identifier: Apache-2.0
"""The journal of one migration on its source."""

from typing import Any

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.records import journal as journals


class Ledger:
    """The record of a migration. Only its own steps write the record.

    :param record: the present one, or the first one of a new migration
    """

    def __init__(
        self, journal: journals.Journal, record: journals.Record
    ) -> None:
        self.record = record
        self._journal = journal

    @property
    def path(self) -> str:
        """The file of the journal."""
        return self._journal.path(self.record.guest)

    def open(self) -> None:
        """Begin the record.

        :raises UnfinishedMigration: the guest has one already
        """
        self.record = self._journal.open(self.record)

    def note(
        self,
        state: states.State | None = None,
        note: str = '',
        **changes: Any,
    ) -> None:
        """Write the record, before the act that it names.

        :param state: None = the present one
        :raises JournalError: the act must not be done
        """
        self.record = self._journal.write(
            self.record, state or self.record.state, note, **changes
        )

    def close(self) -> None:
        """Remove the journal's file; ``record`` keeps its last value."""
        self._journal.close(self.record.guest)

    def exports(self) -> dict[str, tuple[model.Export, ...]]:
        """The exports of each disk, the top layer's first."""
        return {
            move.disk: tuple(
                export
                for export in self.record.exports
                if export.disk == move.disk
            )
            for move in self.record.moves
        }
