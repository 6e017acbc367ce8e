# SPDX-License-Identifier: Apache-2.0
"""``nova-blockcopy show``."""

import argparse
from typing import Any

from nova_blockcopy.cli import command
from nova_blockcopy.cli import side
from nova_blockcopy.cli import sides


class Show(command.Shower):
    """Show all that this host knows of the migration of an instance."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        command.name_instance(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        record = self.site.record(parsed_args.instance)
        found = side.details(sides.look(self.site, record))
        return list(found), list(found.values())
