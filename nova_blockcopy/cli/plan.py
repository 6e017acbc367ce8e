# SPDX-License-Identifier: Apache-2.0
"""``nova-blockcopy plan``."""

import argparse
from collections.abc import Mapping
from typing import Any

from nova_blockcopy import appraisal
from nova_blockcopy import domxml
from nova_blockcopy import exception
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
        at, to = self.site, parsed_args.to
        found = survey.Survey(at.here, at.settings, to, choose).look(
            parsed_args.instance
        )
        there, unasked = None, 'the guest was not found on this host.'
        measured = appraisal.NOTHING
        guest = found.guest
        if guest is not None:
            try:
                found, there = self._inquiry(to, parsed_args.deadline).ask(
                    found, guest
                )
            except (exception.NoEngine, exception.PeerError) as e:
                unasked = str(e)
            measured = writes.measure(
                guest,
                [disk.disk for disk in found.disks],
                parsed_args.seconds,
            )
        side = found.side
        if there is not None:  # only the destination knows its address
            side = survey.tried(side, at.endpoint(there.address or to).uri)
        return appraisal.Appraisal(
            guest=guest.name if guest else parsed_args.instance,
            disks=found.disks,
            left_alone=found.left_alone,
            source=side,
            destination=there,
            unasked='' if there else unasked,
            rules=survey.rules(at.settings),
            measured=measured,
        )

    def _inquiry(self, to: str, deadline: float) -> inquiry.Inquiry:
        at = self.site
        return inquiry.Inquiry(
            channel=relay.Relay(at.settings.journal_dir, to, deadline),
            peer=to,
            home=at.home,
            settings=at.settings,
            deadline=deadline,
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
