# SPDX-License-Identifier: Apache-2.0
"""``nova-blockcopy list``."""

import argparse
from typing import Any

from nova_blockcopy.cli import command
from nova_blockcopy.cli import exits
from nova_blockcopy.cli import side
from nova_blockcopy.cli import sides


class List(command.Lister):
    """List the migrations from and to this host."""

    _damaged: tuple[str, ...] = ()

    def run(self, parsed_args: argparse.Namespace) -> int:
        code = super().run(parsed_args)
        for each in self._damaged:
            self.complain(each)
        return exits.Exit.FAILED if self._damaged and not code else code

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        found = self.site.records()
        self._damaged = found.damaged
        return side.LIST, [
            side.row(sides.glance(self.site, record))
            for record in found.unfinished
        ]
