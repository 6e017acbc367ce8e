# SPDX-License-Identifier: Apache-2.0
"""The options of tools/soak."""

import argparse
import dataclasses
import pathlib
from typing import Any

from nova_blockcopy import drivers
from nova_blockcopy import model
from nova_blockcopy.tests.faults import trips


def choice(given: argparse.Namespace) -> trips.Choice:
    """Return what a soak with these options chooses from."""
    wanted = trips.Choice(
        kinds=tuple(given.kind),
        modes=given.mode or tuple(model.Mode),
        drivers=given.driver or trips.DRIVERS,
        most_faults=given.faults,
    )
    if given.chaos:
        # a comparison takes time, and faults would disturb it
        wanted = dataclasses.replace(
            wanted, writes=(trips.CHAOS,), most_faults=0
        )
    if given.records:
        wanted = dataclasses.replace(wanted, writes=(trips.RECORDS,))
    if given.disturb:
        wanted = dataclasses.replace(
            wanted, most_faults=0, always='libvirtd-stands-still'
        )
    return wanted


def parser(about: str) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    :param about: describes the tool
    """
    made = argparse.ArgumentParser(
        prog='tools/soak',
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    numbers: dict[str, Any] = {'type': int, 'metavar': 'N'}
    add('--seconds', **numbers, help='begin no migration after this time')
    add('--count', **numbers, help='number of migrations')
    add('--seed', **numbers, default=0, help='seed of the plan (default: 0)')
    add(
        '--faults',
        **numbers,
        default=2,
        help='faults in one migration, at most; 0 for none, and no acts of '
        'the owner (default: 2)',
    )
    add(
        '--logs',
        type=pathlib.Path,
        help='directory for the logs of bad migrations (default: none)',
    )
    _add_choices(made)
    _add_writes(made)
    sizes: dict[str, Any] = {'type': int, 'metavar': 'MiB'}
    add('--size', **sizes, default=32, help='of each disk (default: 32)')
    add(
        '--region',
        **sizes,
        default=8,
        help='space for records on each disk; a new guest takes over when it '
        'is nearly full (default: 8)',
    )
    return made


def _add_choices(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
    add(
        '--kind',
        action='append',
        choices=trips.KINDS,
        default=[],
        help='kind of a disk of each guest; give the option once for each '
        'disk (default: one to three disks of random kinds)',
    )
    add(
        '--mode',
        action='append',
        choices=[str(mode) for mode in model.Mode],
        help='only this mode (default: both)',
    )
    add(
        '--driver',
        action='append',
        choices=drivers.installed(),
        help='only this copy driver (default: both)',
    )
    add(
        '--disturb',
        choices=['libvirtd'],
        help='no faults, but libvirtd of the destination stands still for a '
        'while in each switchover',
    )


def _add_writes(made: argparse.ArgumentParser) -> None:
    writes = made.add_mutually_exclusive_group()
    writes.add_argument(
        '--records',
        action='store_true',
        help='let each guest write records only',
    )
    writes.add_argument(
        '--chaos',
        action='store_true',
        help='no faults, but each guest writes, zeroes and discards at random '
        'places; both sides are compared byte for byte when all copies are '
        'ready',
    )
    made.add_argument(
        '--no-discards',
        action='store_true',
        help='leave discards out of the chaos: a synchronous copy discards on '
        'both sides, and each side may ignore a part of a discard',
    )
