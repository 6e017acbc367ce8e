# SPDX-License-Identifier: Apache-2.0
"""``nova-blockcopy plan``."""

import argparse
import functools
from collections.abc import Mapping
from typing import Any

from nova_blockcopy import appraisal
from nova_blockcopy import domxml
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.cli import command
from nova_blockcopy.cli import exits
from nova_blockcopy.cli import outcome
from nova_blockcopy.cli import relay
from nova_blockcopy.host import writes
from nova_blockcopy.migration.source import inquiry
from nova_blockcopy.migration.source import survey

_SECONDS = 5.0
_DEADLINE = 30


class Plan(command.Shower):
    """Look whether an instance could move to another host, and how.

    Nothing is changed on either host. Run this on the source. nova-compute
    passes the question on to the destination.
    """

    _code = exits.Exit.DONE

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        command.name_instance(parser)
        parser.add_argument(
            '--to',
            metavar='HOST',
            required=True,
            help="The destination, by its host's name in Nova.",
        )
        parser.add_argument(
            '--seconds',
            metavar='SECONDS',
            type=float,
            default=_SECONDS,
            help=f'How long to measure the writes of the instance; 0 measures '
            f'nothing (default: {_SECONDS:g}).',
        )
        command.add_deadline(parser, 'for the other host', _DEADLINE)
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        return super().run(parsed_args) or self._code

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        found = self._appraise(parsed_args)
        if found.refusals:
            self._code = exits.Exit.REFUSED
        elif not found.goes:
            self._code = exits.Exit.UNKNOWN
        shown = outcome.details(found, parsed_args.to)
        return list(shown), list(shown.values())

    def _appraise(
        self, parsed_args: argparse.Namespace
    ) -> appraisal.Appraisal:
        at, to, deadline = self.site, parsed_args.to, parsed_args.deadline
        asking = inquiry.Inquiry(
            here=at.here,
            channel=relay.Relay(at.settings.journal_dir, to, deadline),
            peer=to,
            home=at.home,
            endpoint=at.endpoint,
            settings=at.settings,
            deadline=deadline,
            measures=parsed_args.seconds > 0,
        )
        return asking.appraise(
            parsed_args.instance,
            choose,
            functools.partial(writes.measure, seconds=parsed_args.seconds),
        )


def choose(xml: str, disks: Mapping[str, model.Disk]) -> survey.Choice:
    """Choose the disks that move as Nova does.

    Nova gives volumes of Cinder a serial number, and no other disks
    (``LibvirtBaseVolumeDriver.get_config``).
    """
    volumes = {
        target
        for target, element in domxml.by_target(domxml.parse(xml)).items()
        if element.findtext('serial')
    }
    moves = [
        target
        for target, disk in disks.items()
        if target not in volumes
        and disk.device == 'disk'
        and not disk.readonly
        and (disk.path or disk.obstacle)
    ]
    return survey.Choice(
        moves=moves,
        whole=[
            target for target in moves if plan.is_made_on_each(disks[target])
        ],
        shared={
            target: 'Nova takes care of it'
            for target, disk in disks.items()
            if target not in moves and not disk.readonly
        },
    )
