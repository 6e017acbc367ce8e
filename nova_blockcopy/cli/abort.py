# SPDX-License-Identifier: Apache-2.0
"""``nova-blockcopy abort``."""

import argparse

from nova_blockcopy import exception
from nova_blockcopy import states
from nova_blockcopy.cli import command
from nova_blockcopy.cli import orders
from nova_blockcopy.migration.source import orders as known
from nova_blockcopy.records import journal
from nova_blockcopy.runtime import waiting

#: States in which nothing is left to wait for.
_OVER = (states.State.SETTLED, states.State.STUCK)


class Abort(command.Command):
    """Undo a running migration: the guest stays on the source, or returns.

    Run this on the source. It is possible until the guest begins to switch
    to its disks on the destination.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        command.name_instance(parser)
        command.add_deadline(parser, 'until the migration is undone', 600)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        record = self.site.record(parsed_args.instance)
        answer = orders.give(self.site, record, known.ABORT, orders.DEADLINE)
        if not answer['accepted']:
            raise exception.Unsafe(
                instance=record.guest,
                reason='the guest is switching to its disks on the '
                'destination, or has done so. It is too late to abort: wait '
                'for the end.',
            )
        self.say('The engine has begun to undo the migration.')
        self._wait(record, parsed_args.deadline)
        self.say(
            f'The migration was undone. Instance {record.guest} is on this '
            f'host, on its own disks.'
        )

    def _wait(self, record: journal.Record, deadline: float) -> None:
        if not waiting.until(lambda: self._over(record), timeout=deadline):
            raise exception.Unsafe(
                instance=record.guest,
                reason=f'the migration is not undone after {deadline:g} s, '
                f'and the engine goes on. Look at it with "nova-blockcopy '
                f'watch {record.guest}".',
            )
        last = self.site.journal.find(record.guest)
        if last is not None and last.state is states.State.STUCK:
            raise exception.MigrationStuck(
                guest=record.guest,
                state=last.state,
                reason=last.history[-1].note,
                path=self.site.journal.path(record.guest),
            )

    def _over(self, record: journal.Record) -> bool:
        now = self.site.journal.find(record.guest)
        return (
            now is None
            or now.migration != record.migration
            or now.state in _OVER
        )
