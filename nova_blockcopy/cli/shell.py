# SPDX-License-Identifier: Apache-2.0
"""The command ``nova-blockcopy``: the migrations of this compute host."""

import argparse
import importlib.metadata
import logging
import sys
from collections.abc import Sequence
from typing import Any

from cliff import app
from cliff import commandmanager
from oslo_config import cfg

from nova_blockcopy import exception
from nova_blockcopy.cli import exits
from nova_blockcopy.cli import site
from nova_blockcopy.runtime import nova_conf

#: The entry points of the commands.
NAMESPACE = 'nova_blockcopy.cli'
_PROGRAM = 'nova-blockcopy'
#: Commands that are about the program only.
_OF_CLIFF = ('help', 'complete')


class Shell(app.App):
    """The application, with the options of all commands.

    :param here: the host; None = the one that the configuration describes
    """

    NAME = _PROGRAM

    def __init__(self, here: site.Site | None = None, **more: Any) -> None:
        super().__init__(
            description='Show, steer and settle the migrations of this host.',
            version=importlib.metadata.version('nova-blockcopy'),
            command_manager=commandmanager.CommandManager(NAMESPACE),
            deferred_help=True,
            **more,
        )
        self._here = here

    @property
    def site(self) -> site.Site:
        """The host that the commands are about."""
        assert self._here is not None  # noqa: S101 - initialize_app made it
        return self._here

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, Any] | None = None,
    ) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().build_option_parser(
            *(description, version),
            argparse_kwargs={'prog': _PROGRAM, **(argparse_kwargs or {})},
        )
        for name, what in (
            ('file', 'A configuration file of nova-compute.'),
            ('dir', 'A directory of configuration files.'),
        ):
            parser.add_argument(
                f'--config-{name}',
                action='append',
                default=[],
                metavar='PATH',
                help=f'{what} Can be given several times.',
            )
        return parser

    def configure_logging(self) -> None:
        """Log as little as people need, and say errors once."""
        super().configure_logging()
        for name in ('cliff', 'oslo', 'stevedore'):
            logging.getLogger(name).setLevel(logging.WARNING)
        if self.options.verbose_level < 2:
            logging.getLogger('nova_blockcopy').setLevel(logging.ERROR)

    def initialize_app(self, argv: Sequence[str]) -> None:
        if self._here is None and argv and argv[0] not in _OF_CLIFF:
            try:
                self._here = site.of(
                    cfg.CONF, nova_conf.arguments(self.options)
                )
            except (cfg.Error, ValueError, exception.InvalidOption) as e:
                self.stderr.write(f'The configuration cannot be read: {e}\n')
                raise SystemExit(exits.Exit.BROKEN) from e

    def interact(self) -> None:
        """Without a command, say which there are."""
        self.parser.print_help(self.stderr)
        names = ' '.join(sorted(name for name, _found in self.command_manager))
        self.stderr.write(f'\nCommands: {names}\n')
        raise SystemExit(exits.Exit.USAGE)

    def run(self, argv: Sequence[str]) -> int:
        """Run one command.

        :returns: the exit code
        """
        try:
            code: int = super().run(list(argv))
        except SystemExit as e:  # of argparse
            code = e.code if isinstance(e.code, int) else exits.Exit.USAGE
        return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: the arguments; those of this process by default
    :returns: the exit code
    """
    if argv is None:
        argv = sys.argv[1:]
    return Shell().run(argv)


if __name__ == '__main__':
    sys.exit(main())
