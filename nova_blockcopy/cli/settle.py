# SPDX-License-Identifier: Apache-2.0
"""``nova-blockcopy settle``."""

import argparse

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.cli import command
from nova_blockcopy.cli import deputy
from nova_blockcopy.cli import facts
from nova_blockcopy.cli import verdict
from nova_blockcopy.migration import control
from nova_blockcopy.migration import peer
from nova_blockcopy.records import journal


class Settle(command.Command):
    """Try now to bring a migration to its end that has stopped.

    Run this on the source. nova-compute does the same by itself every ten
    seconds. Without nova-compute, the command settles the disks itself, and
    leaves the part of Nova to nova-compute. If the attempt fails, the command
    says what is missing.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        command.name_instance(parser)
        command.add_deadline(parser, 'for the attempt', 600)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        record = self.site.record(parsed_args.instance)
        if record.role is model.Role.DESTINATION:
            raise exception.Unsafe(
                instance=record.guest,
                reason=f'the source of its migration decides. Run this '
                f'command on {record.peer}. If {record.peer} will not come '
                f'back, see "nova-blockcopy adopt" and "nova-blockcopy '
                f'abandon".',
            )
        if self.site.runs(record.guest):
            raise exception.Unsafe(
                instance=record.guest,
                reason='its migration runs. Look at it with "nova-blockcopy '
                'watch", or end it with "nova-blockcopy abort".',
            )
        try:
            settled = self._try_now(record, parsed_args.deadline)
        except exception.NoEngine:
            self._settle_here(record, parsed_args.deadline)
            return
        if not settled:
            raise self._missing(record)
        self.say('The migration is settled. Its journals are closed.')

    def _settle_here(self, record: journal.Record, deadline: float) -> None:
        """Do what nova-compute would do to the disks.

        :raises Unsettled: it has failed
        """
        self.say('nova-compute does not run on this host.')
        try:
            side = deputy.settle(self.site, record.guest, deadline)
        except exception.Unsettled:
            self._tell(record)
            raise
        self.say(
            f'The guest uses the disks of the {side}. The journal stays until '
            f'nova-compute on this host has done the part of Nova. Start it.'
        )

    def _try_now(self, record: journal.Record, deadline: float) -> bool:
        """Have nova-compute try now.

        :returns: whether the migration is settled
        :raises NoEngine: nova-compute does not run
        """
        channel = control.Local(
            self.site.settings.journal_dir, control.SERVICE, deadline
        )
        answer = peer.ask(channel, control.SETTLE, record.guest)
        return bool(answer['settled'])

    def _tell(self, record: journal.Record) -> None:
        """Say what both copies are."""
        now = self.site.journal.find(record.guest) or record
        for sentence in verdict.known(now, facts.look(self.site, now)):
            self.say(sentence)

    def _missing(self, record: journal.Record) -> exception.Unsettled:
        """Say what both copies are, and what the settlement lacks."""
        self._tell(record)
        found = self.site.reports.find(record.guest, record.migration)
        failure = found.failure if found else None
        reason = failure.reason if failure else 'the reason is in its log'
        return exception.Unsettled(instance=record.guest, reason=reason)
