# SPDX-License-Identifier: Apache-2.0
"""The results of a soak's migrations, and their tally. Pure."""

import collections
import dataclasses
import json
from collections.abc import Iterable

from nova_blockcopy.tests.faults import acts
from nova_blockcopy.tests.faults import faults
from nova_blockcopy.tests.faults import trips
from nova_blockcopy.tests.faults import verdict


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """The result of one migration.

    ``struck`` has the faults that happened. ``differences`` are those between
    both sides in state READY. ``broken`` is an error of the harness itself.
    """

    trip: trips.Trip
    way: str
    seconds: float
    struck: tuple[str, ...] = ()
    seen: verdict.Evidence | None = None
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    broken: str = ''

    @property
    def lost(self) -> bool:
        """Whether the guest lost data, or does not write any more."""
        seen = self.seen
        return bool(self.differences) or (
            seen is not None
            and (seen.lost or bool(seen.startable) or not seen.writes)
        )

    @property
    def doubled(self) -> bool:
        """Whether the guest ran, or is active, on both hosts."""
        seen = self.seen
        return seen is not None and (seen.doubled or len(seen.at) > 1)

    @property
    def explained(self) -> bool:
        """Whether some fault can be the reason for a stuck migration."""
        known = {**faults.FAULTS, **acts.ACTS}
        return any(known[name].explains for name in self.struck)

    @property
    def outcome(self) -> str:
        """The end in a few words."""
        return verdict.end(self.seen) if self.seen else 'broken'

    @property
    def stuck(self) -> bool:
        """Whether the migration got stuck, and was perhaps settled later."""
        return self.outcome.startswith(verdict.STUCK)

    @property
    def inexplicable(self) -> bool:
        """Whether the migration is stuck for good, or without a reason."""
        never = self.seen is not None and self.seen.stuck
        return never or (self.stuck and not self.explained)

    @property
    def bad(self) -> bool:
        """Whether the soak fails."""
        return self.lost or self.doubled or self.inexplicable

    @property
    def problems(self) -> tuple[str, ...]:
        """All that should not be."""
        found = verdict.problems(self.seen) if self.seen else []
        broken = [self.broken] if self.broken else []
        return (*found, *self.differences, *broken)

    def line(self) -> str:
        """Return the result as a line of JSON."""
        return json.dumps(
            {
                **dataclasses.asdict(self.trip),
                'way': self.way,
                'struck': self.struck,
                'outcome': self.outcome,
                'problems': self.problems,
                'reason': self.seen.reason if self.seen else '',
                'notes': self.notes,
                'seconds': round(self.seconds, 1),
            }
        )


def tally(seed: int, legs: Iterable[Leg]) -> str:
    """Return the tally of a soak as a line of JSON."""
    legs = tuple(legs)
    ends = collections.Counter(_end(leg) for leg in legs)
    return json.dumps(
        {
            'seed': seed,
            'migrations': len(legs),
            'done': ends['done'],
            'undone': ends['undone'],
            'refused': ends['refused'],
            'stuck, explained': sum(
                leg.stuck and not leg.inexplicable for leg in legs
            ),
            'stuck, unexplained': sum(leg.inexplicable for leg in legs),
            'lost': sum(leg.lost for leg in legs),
            'records lost': sum(
                v.missing + v.wrong
                for leg in legs
                if leg.seen
                for v in leg.seen.verdicts
            ),
            'doubled': sum(leg.doubled for leg in legs),
            'other problems': sum(
                bool(leg.problems) and not leg.bad for leg in legs
            ),
            'broken': sum(bool(leg.broken) for leg in legs),
        }
    )


def _end(leg: Leg) -> str:
    """Return the end of a migration, settled or not."""
    return leg.outcome.rpartition(' ')[-1]
