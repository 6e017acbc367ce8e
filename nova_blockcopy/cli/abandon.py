# SPDX-License-Identifier: Apache-2.0
"""``nova-blockcopy abandon``."""

from nova_blockcopy import model
from nova_blockcopy.cli import decision
from nova_blockcopy.cli import facts
from nova_blockcopy.cli import local
from nova_blockcopy.cli import verdict
from nova_blockcopy.records import journal


class Abandon(decision.Decision):
    """Drop the part of this host in a migration.

    On the destination, the migration is forgotten, and a guest whose exports
    are gone is ended. On the source, what is left after a proven pivot is
    removed without the destination.
    """

    def judge(
        self, record: journal.Record, seen: facts.Facts, *, fenced: bool
    ) -> verdict.Verdict:
        return verdict.abandon(record, seen, fenced=fenced)

    def act(self, record: journal.Record) -> None:
        if record.role is model.Role.DESTINATION:
            local.Destination(self.site, record).forget()
            self.say(
                'The migration is forgotten. The journal stays until Nova has '
                'removed the bases.'
            )
        else:
            local.settle(self.site, record)
            self.close(record)
