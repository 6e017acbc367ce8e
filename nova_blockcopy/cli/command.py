# SPDX-License-Identifier: Apache-2.0
"""What the commands have in common: arguments, errors and exit codes."""

import argparse
from typing import Any

from cliff import command
from cliff import lister
from cliff import show

from nova_blockcopy import exception
from nova_blockcopy.cli import exits
from nova_blockcopy.cli import site


class Base:
    """A mixin that turns errors into one sentence and an exit code."""

    app: Any

    @property
    def site(self) -> site.Site:
        """The host that the command is about."""
        found: site.Site = self.app.site
        return found

    def run(self, parsed_args: argparse.Namespace) -> int:
        try:
            code: int = super().run(parsed_args)  # type: ignore[misc]
        except exception.BlockCopyError as e:
            self.complain(e)
            return exits.of(e)
        except OSError as e:
            directory = self.site.settings.journal_dir
            self.complain(
                f'{e.filename or directory}: {e.strerror}. Run this command '
                f'as root, or as the user of nova-compute.'
            )
            return exits.Exit.FAILED
        return code

    def say(self, text: str) -> None:
        """Print a line for people."""
        self.app.stdout.write(f'{text}\n')
        self.app.stdout.flush()

    def complain(self, text: object) -> None:
        """Print a line about an error."""
        self.app.stderr.write(f'{text}\n')


class Command(Base, command.Command):
    """A command that prints what it does."""


class Lister(Base, lister.Lister):
    """A command that prints a table with a row for each migration."""


class Shower(Base, show.ShowOne):
    """A command that prints all about one migration."""


def add_deadline(
    parser: argparse.ArgumentParser, what: str, seconds: int
) -> None:
    """Add the option ``--deadline`` to a command.

    :param what: how long to wait for
    :param seconds: the default
    """
    parser.add_argument(
        '--deadline',
        metavar='SECONDS',
        type=float,
        default=seconds,
        help=f'How long to wait {what} (default: {seconds}).',
    )


def name_instance(parser: argparse.ArgumentParser, **more: Any) -> None:
    """Add the argument INSTANCE to a command."""
    parser.add_argument(
        'instance',
        metavar='INSTANCE',
        help="UUID of the instance, or libvirt's name of it.",
        **more,
    )
