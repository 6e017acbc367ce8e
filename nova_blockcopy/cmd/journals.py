# SPDX-License-Identifier: Apache-2.0
"""The migrations that this host has a journal of."""

import contextlib
import dataclasses
import os

from oslo_upgradecheck import upgradecheck

from nova_blockcopy import exception
from nova_blockcopy.cmd import answers
from nova_blockcopy.records import journal


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The journals of a host.

    ``unfinished`` has the record of each migration. ``damaged`` says of each
    other journal, in words, why it cannot be read.
    """

    unfinished: tuple[journal.Record, ...] = ()
    damaged: tuple[str, ...] = ()


def look(directory: str) -> Found:
    """Read the journals in a directory.

    :raises OSError: this process may not read the directory
    """
    # the search for journals takes an unreadable directory for an empty one
    with contextlib.suppress(FileNotFoundError):
        os.listdir(directory)
    journals = journal.Journal(directory)
    unfinished, damaged = [], []
    for guest in journals.guests():
        try:
            record = journals.find(guest)
        except exception.JournalError as e:
            damaged.append(str(e))
            continue
        if record is not None:  # it may have ended meanwhile
            unfinished.append(record)
    return Found(unfinished=tuple(unfinished), damaged=tuple(damaged))


def result(found: Found) -> upgradecheck.Result:
    """Decide on the journals. Pure."""
    said = []
    if found.unfinished:
        guests = ', '.join(map(_words, found.unfinished))
        said.append(
            f'{len(found.unfinished)} unfinished: {guests}. Do not upgrade '
            f'now. Let nova-compute run on both hosts until it has settled '
            f'them.'
        )
    if found.damaged:
        said.append(
            f'{len(found.damaged)} with a journal that cannot be read, so '
            f'nova-compute leaves the guest alone. {" ".join(found.damaged)}'
        )
        return answers.failure(' '.join(said))
    return answers.warning(said[0]) if said else answers.success()


def _words(record: journal.Record) -> str:
    return (
        f'{record.guest} (state {record.state}, this host is the '
        f'{record.role}, the other host is {record.peer})'
    )
