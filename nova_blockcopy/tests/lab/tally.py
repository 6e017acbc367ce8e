# SPDX-License-Identifier: Apache-2.0
"""The results of a soak's migrations, and their summary. Pure."""

import collections
import dataclasses
from collections.abc import Iterable

from nova_blockcopy.tests.lab import contents
from nova_blockcopy.tests.lab import records

#: How a migration ended.
DONE = 'done'
UNDONE = 'undone'
STUCK = 'stuck'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """The result of one migration.

    ``trouble`` has the errors of the engine and of the guest. ``inspected``
    tells whether the contents were compared.
    """

    ended: str
    seconds: float = 0.0
    inspected: bool = False
    differences: tuple[contents.Difference, ...] = ()
    verdicts: tuple[records.Verdict, ...] = ()
    crashes: tuple[str, ...] = ()
    trouble: tuple[str, ...] = ()
    #: The guest does not write any more, or could not be checked.
    silent: bool = False

    @property
    def lost(self) -> bool:
        return (
            self.silent
            or bool(self.crashes or self.differences)
            or not all(verdict.intact for verdict in self.verdicts)
        )

    def __str__(self) -> str:
        missing = sum(verdict.missing for verdict in self.verdicts)
        wrong = sum(verdict.wrong for verdict in self.verdicts)
        written = sum(verdict.written for verdict in self.verdicts)
        said = [f'{self.ended:6} {self.seconds:5.1f} s']
        if self.inspected:
            said.append('contents differ' if self.differences else 'equal')
        said.append(f'{written} records, {missing} missing, {wrong} wrong')
        return '; '.join(
            (
                *said,
                *map(str, self.differences),
                *self.crashes,
                *self.trouble,
                *(('the guest is silent',) if self.silent else ()),
            )
        )


def summary(legs: Iterable[Leg]) -> str:
    """Summarise the migrations of a soak in one line."""
    legs = tuple(legs)
    ends = collections.Counter(leg.ended for leg in legs)
    differing = sum(
        difference.differing_bytes
        for leg in legs
        for difference in leg.differences
    )
    verdicts = [verdict for leg in legs for verdict in leg.verdicts]
    return (
        f'{len(legs)} migrations: {ends[DONE]} done, {ends[UNDONE]} undone, '
        f'{ends[STUCK]} stuck; {sum(leg.inspected for leg in legs)} '
        f'inspected; crashes of QEMU {sum(len(leg.crashes) for leg in legs)}, '
        f'differing bytes {differing}, '
        f'records missing {sum(verdict.missing for verdict in verdicts)}, '
        f'wrong {sum(verdict.wrong for verdict in verdicts)}, '
        f'silent guests {sum(leg.silent for leg in legs)}'
    )
