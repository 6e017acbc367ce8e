# SPDX-License-Identifier: Apache-2.0
"""The commands with which a person decides about a migration."""

import argparse

from nova_blockcopy import exception
from nova_blockcopy.cli import command
from nova_blockcopy.cli import exits
from nova_blockcopy.cli import facts
from nova_blockcopy.cli import verdict
from nova_blockcopy.records import journal


class Decision(command.Command):
    """A command that says what it knows and will do, and asks."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        command.name_instance(parser)
        parser.add_argument(
            '--fenced',
            action='store_true',
            help='The other host is off, and you keep it off until it has no '
            'journal of the instance.',
        )
        parser.add_argument('--yes', action='store_true', help='Do not ask.')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        record = self.site.record(parsed_args.instance)
        if self.site.runs(record.guest):
            raise exception.MigrationLocked(guest=record.guest)
        found = self.judge(
            record, facts.look(self.site, record), fenced=parsed_args.fenced
        )
        for sentence in found.known:
            self.say(sentence)
        if found.refusal:
            raise exception.Unsafe(instance=record.guest, reason=found.refusal)
        self.say(found.deed)
        if not parsed_args.yes and not self._agreed():
            raise exception.Declined
        self.act(record)
        return exits.Exit.DONE

    def judge(
        self, record: journal.Record, seen: facts.Facts, *, fenced: bool
    ) -> verdict.Verdict:
        """Decide whether it is safe."""
        raise NotImplementedError

    def act(self, record: journal.Record) -> None:
        """Do it. It can be done twice."""
        raise NotImplementedError

    def close(self, record: journal.Record) -> None:
        """Leave the rest to Nova, or close the journal if there is none."""
        if record.held:
            self.say(
                'The disks are done. The journal stays until nova-compute on '
                'this host has done the part of Nova.'
            )
        else:
            self.site.journal.close(record.guest)
            self.say('Done. The journal is closed.')

    def _agreed(self) -> bool:
        self.app.stdout.write('Do that? Type "yes": ')
        self.app.stdout.flush()
        return str(self.app.stdin.readline()).strip() == 'yes'
