# SPDX-License-Identifier: Apache-2.0
"""Puts together what this host knows of its migrations."""

import datetime

import psutil

from nova_blockcopy import model
from nova_blockcopy.cli import facts
from nova_blockcopy.cli import side
from nova_blockcopy.cli import site
from nova_blockcopy.cli import words
from nova_blockcopy.records import journal
from nova_blockcopy.records import keeping
from nova_blockcopy.records import received


def glance(at: site.Site, record: journal.Record) -> side.Side:
    """Tell about a migration, without a look at its guest."""
    found = at.reports.find(record.guest, record.migration)
    works = at.runs(record.guest)
    if record.role is model.Role.DESTINATION:
        works = found is not None and psutil.pid_exists(found.pid)
    if works:
        engine = side.Engine.WORKS
    else:
        engine = side.Engine.RETRIES if at.serves() else side.Engine.AWAY
    return side.Side(record=record, engine=engine, report=found)


def look(at: site.Site, record: journal.Record) -> side.Side:
    """Tell all about a migration."""
    seen = glance(at, record)
    return side.Side(
        record=record,
        engine=seen.engine,
        report=seen.report,
        facts=facts.look(at, record),
        kept=kept(at, record.guest),
    )


def kept(at: site.Site, guest: str) -> tuple[str, ...]:
    """Tell which bases of a guest, by UUID, stay here for a next attempt."""
    directory = at.settings.journal_dir
    note = keeping.Notes(directory).find(guest)
    if note is None:
        return ()
    until = 'an unknown time'
    if note.until is not None:
        end = datetime.datetime.fromtimestamp(note.until, datetime.UTC)
        until = end.isoformat(timespec='seconds')
    return tuple(
        f'{disk}: base {known.base.path} of {words.size(known.size_bytes)} '
        f'until {until}'
        for disk, known in received.Book(directory, guest).by_disk().items()
    )
