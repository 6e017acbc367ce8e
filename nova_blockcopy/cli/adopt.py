# SPDX-License-Identifier: Apache-2.0
"""``nova-blockcopy adopt``."""

import argparse

from nova_blockcopy import model
from nova_blockcopy.cli import decision
from nova_blockcopy.cli import facts
from nova_blockcopy.cli import local
from nova_blockcopy.cli import verdict
from nova_blockcopy.records import journal


class Adopt(decision.Decision):
    """Have the instance go on with the disks of this host.

    On the source, the migration is undone without the destination. On the
    destination, the guest switches to its bases without the source, if they
    have each write.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--here',
            action='store_true',
            required=True,
            help='The disks of this host are the ones; must be given.',
        )
        return parser

    def judge(
        self, record: journal.Record, seen: facts.Facts, *, fenced: bool
    ) -> verdict.Verdict:
        return verdict.adopt(record, seen, fenced=fenced)

    def act(self, record: journal.Record) -> None:
        if record.role is model.Role.DESTINATION:
            local.Destination(self.site, record).take_over()
            self.say(
                'The guest uses its bases on this host. The journal stays '
                'until the source, or nova-compute on this host, closes it.'
            )
        else:
            local.settle(self.site, record)
            self.close(record)
