# SPDX-License-Identifier: Apache-2.0
"""One side of a migration, with all that this host knows of it. Pure."""

import dataclasses
import enum
from typing import Any

from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy.cli import facts as found
from nova_blockcopy.cli import phases
from nova_blockcopy.cli import words
from nova_blockcopy.records import journal
from nova_blockcopy.records import report as reports


class Engine(enum.StrEnum):
    """Who acts on a migration on this host."""

    WORKS = 'at work'
    #: nova-compute runs, and tries to settle the migration again and again.
    RETRIES = 'nova-compute tries again'
    AWAY = 'nova-compute does not run'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One migration, as one of its hosts sees it.

    ``facts`` is None where nobody has looked. ``kept`` has a line for each
    thing that stays after the migration.
    """

    record: journal.Record
    engine: Engine
    report: reports.Report | None = None
    facts: found.Facts | None = None
    kept: tuple[str, ...] = ()

    @property
    def figures(self) -> progress.Progress | None:
        """The last figures; the engine may have ended since."""
        return self.report.figures if self.report else None

    @property
    def rate(self) -> float | None:
        """The present rate in bytes/s; None if nothing is copied now."""
        if self.figures is None or self.engine is not Engine.WORKS:
            return None
        return self.figures.rate

    @property
    def time_left_s(self) -> float | None:
        """Seconds until all is copied; None if that is not known."""
        return self.figures.time_left_s if self.rate and self.figures else None

    @property
    def authority(self) -> str:
        """The host that has the authoritative copy."""
        here = self.record.authority is self.record.role
        host = 'this host' if here else self.record.peer
        return f'{self.record.authority} ({host})'


LIST = (
    *('Instance', 'Name', 'Side', 'Other host', 'State'),
    *('Done', 'Rate', 'Left'),
)


def row(side: Side) -> tuple[Any, ...]:
    """The values of LIST for one migration."""
    record = side.record
    now = side.figures or progress.Progress(state=record.state)
    return (
        *(record.guest, record.name, str(record.role), record.peer),
        str(record.state),
        words.Percent((now.processed_bytes, now.total_bytes)),
        words.Speed(side.rate),
        words.Span(side.time_left_s),
    )


def details(side: Side) -> dict[str, Any]:
    """All that is known, by the names that ``show`` prints."""
    record, facts = side.record, side.facts
    now = side.figures or progress.Progress(state=record.state)
    failure = side.report.failure if side.report else None
    last = record.history[-1] if record.history else None
    return {
        'instance': record.guest,
        'name': record.name,
        'migration': record.migration,
        'side': str(record.role),
        'other_host': record.peer,
        'mode': str(record.mode),
        'state': str(record.state),
        'meaning': phases.SAID[record.state],
        'since': words.Text(last.at if last else ''),
        'note': words.Text(last.note if last else ''),
        'engine': str(side.engine),
        'authoritative_copy': side.authority,
        'guest_here': _power(facts),
        'copied': words.Size(now.processed_bytes),
        'total': words.Size(now.total_bytes),
        'rate': words.Speed(side.rate),
        'time_left': words.Span(side.time_left_s),
        'limit': words.Limit(now.limit),
        'forecast': words.Text(str(now.forecast or '')),
        'disks': words.Lines([_disk(each, side) for each in record.moves]),
        'exports': words.Lines(
            [_export(each, facts) for each in record.exports]
        ),
        'kept': words.Lines(list(side.kept)),
        'last_attempt': words.Text(failure.at if failure else ''),
        'failure': words.Text(failure.reason if failure else ''),
    }


def _power(facts: found.Facts | None) -> str:
    if facts is None:
        return words.UNKNOWN
    if facts.power is None:
        return f'not known: {facts.trouble}'
    return str(facts.power)


def _disk(move: model.Move, side: Side) -> dict[str, Any]:
    now = side.figures
    of = {each.disk: each for each in now.disks} if now else {}
    figures = of.get(move.disk, model.DiskProgress(disk=move.disk))
    places = side.facts.places if side.facts else {}
    pivoted = figures.pivoted or move.disk in side.record.pivoted
    return {
        'disk': move.disk,
        'uses': places.get(move.disk, words.UNKNOWN),
        'copied': f'{words.size(figures.processed_bytes)} of '
        f'{words.size(figures.total_bytes)}',
        'pivoted': pivoted,
        'source': move.source.path,
        'base': move.base.path,
    }


def _export(export: model.Export, facts: found.Facts | None) -> dict[str, Any]:
    alive = facts.exports.get(export.name) if facts else None
    return {
        'disk': export.disk,
        'at': f'{export.address}:{export.port}',
        'alive': words.UNKNOWN if alive is None else alive,
    }
