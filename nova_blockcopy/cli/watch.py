# SPDX-License-Identifier: Apache-2.0
"""``nova-blockcopy watch``."""

import argparse
import time

import rich.console

from nova_blockcopy import exception
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.cli import command
from nova_blockcopy.cli import exits
from nova_blockcopy.cli import screen
from nova_blockcopy.records import journal

#: Seconds between two looks.
_PAUSE = 0.5


class Watch(command.Command):
    """Show the progress of migrations until they have ended.

    Without INSTANCE, all migrations of this host are shown.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        command.name_instance(parser, nargs='?')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        if parsed_args.instance:
            followed = [self.site.record(parsed_args.instance)]
        else:
            followed = list(self.site.records().unfinished)
        if not followed:
            self.say('This host has no migration.')
            return exits.Exit.DONE
        console = rich.console.Console(file=self.app.stdout)
        with screen.Screen(console) as shown:
            several = len(followed) > 1
            return self._follow(shown, followed, several=several)

    def _follow(
        self,
        shown: screen.Screen,
        followed: list[journal.Record],
        *,
        several: bool,
    ) -> int:
        code = exits.Exit.DONE
        while followed:
            for record in list(followed):
                now = self.site.journal.find(record.guest)
                name = record.name if several else ''
                if now is None or now.migration != record.migration:
                    shown.say(self._ending(record))
                    followed.remove(record)
                    continue
                shown.show(self._progress(now), name)
                if now.state is states.State.STUCK:
                    shown.say(f'{record.name}: {now.history[-1].note}')
                    followed.remove(record)
                    code = exits.Exit.FAILED
            time.sleep(_PAUSE if followed else 0)
        return code

    def _progress(self, record: journal.Record) -> progress.Progress:
        found = self.site.reports.find(record.guest, record.migration)
        if found is None or found.figures is None:
            return progress.Progress(state=record.state)
        return found.figures

    def _ending(self, record: journal.Record) -> str:
        """Tell where the guest is, by what libvirt says."""
        try:
            here = self.site.here.find(record.guest) is not None
        except exception.HypervisorError as e:
            return f'The migration of {record.name} has ended.\n{e}'
        where = 'on this host' if here else 'not on this host any more'
        return (
            f'The migration of {record.name} has ended.\nThe guest is {where}.'
        )
