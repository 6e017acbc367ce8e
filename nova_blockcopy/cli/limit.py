# SPDX-License-Identifier: Apache-2.0
"""``nova-blockcopy limit``."""

import argparse

from nova_blockcopy import bandwidth
from nova_blockcopy.cli import command
from nova_blockcopy.cli import orders
from nova_blockcopy.cli import words
from nova_blockcopy.migration.source import orders as known


class Limit(command.Command):
    """Change the bandwidth limit of a running migration, on both hosts.

    Run this on the source. The limit is for all disks of the instance
    together, and holds until the end of the migration.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        command.name_instance(parser)
        parser.add_argument(
            'mib_per_s',
            metavar='MIB_PER_S',
            type=int,
            help='The new limit in MiB/s; 0 lifts the limit.',
        )
        command.add_deadline(parser, 'for nova-compute', orders.DEADLINE)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        record = self.site.record(parsed_args.instance)
        limit = parsed_args.mib_per_s
        orders.give(
            *(self.site, record, known.LIMIT, parsed_args.deadline),
            mib_per_s=limit,
        )
        said = words.limit(limit * bandwidth.MIB)
        self.say(f'Both hosts have confirmed the limit: {said}.')
