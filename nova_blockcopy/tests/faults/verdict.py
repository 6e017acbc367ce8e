# SPDX-License-Identifier: Apache-2.0
"""The verdict on one migration with its faults. Pure."""

import dataclasses

from nova_blockcopy.tests.lab import records

#: How the first run of a migration ended, or its process.
DONE, UNDONE, REFUSED = 'done', 'undone', 'refused'
STUCK, KILLED, CRASHED = 'stuck', 'killed', 'crashed'
SOURCE, DESTINATION = 'source', 'destination'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that was seen after a migration.

    * ``met``: whether the fault happened
    * ``ended``: how the first run ended, ``reason`` why
    * ``settled``: the side that the guest was settled on; '' if the first run
      ended it all
    * ``closed``: whether the source's journal is gone
    * ``authority``: the side that the last journal of the source named
    * ``at``: the sides on which the guest is active
    * ``defined``: the sides on which the guest is defined or active
    * ``may_be_off``: whether something ended the guest on purpose, and
      ``crashes`` what QEMU said if not
    * ``may_see_errors``: whether the guest's disks may fail
    * ``startable``: an error, if a guest that was off did not start
    * ``writes``: whether the guest writes, after the owner let it go on
    * ``paused``: whether the guest was found paused, and ``wanted_paused``
      whether its owner wants that
    * ``elsewhere``: the disks that are not on the images of the guest's host
    * ``verdicts``, ``changed``, ``litter``, ``errors``: see the lab
    * ``doubled``: whether the guest ran on both hosts at a time
    * ``again``: the error of the next migration; '' if that was done
    """

    ended: str
    reason: str = ''
    met: bool = True
    settled: str = ''
    closed: bool = True
    authority: str = SOURCE
    at: tuple[str, ...] = (SOURCE,)
    defined: tuple[str, ...] = (SOURCE,)
    may_be_off: bool = False
    may_see_errors: bool = False
    crashes: tuple[str, ...] = ()
    startable: str = ''
    writes: bool = True
    paused: bool = False
    wanted_paused: bool = False
    elsewhere: tuple[str, ...] = ()
    verdicts: tuple[records.Verdict, ...] = ()
    changed: tuple[str, ...] = ()
    litter: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    doubled: bool = False
    again: str = ''

    @property
    def lost(self) -> bool:
        """Whether the guest lost a record or other data."""
        return bool(self.changed) or any(
            v.missing or v.wrong for v in self.verdicts
        )

    @property
    def stuck(self) -> bool:
        """Whether the migration was never settled."""
        return not self.closed


def end(seen: Evidence) -> str:
    """Name the end of a migration in a few words."""
    if seen.stuck:
        return STUCK
    if seen.ended in (DONE, UNDONE, REFUSED):
        return seen.ended
    to = {SOURCE: UNDONE, DESTINATION: DONE}.get(seen.settled, 'nothing')
    return f'{seen.ended}, then {to}'


def outcome(seen: Evidence) -> str:
    """Name the outcome for the table.

    The end is in parentheses if the fault found nothing to break.
    """
    return end(seen) if seen.met else f'({end(seen)})'


def problems(seen: Evidence) -> list[str]:
    """Describe what should not be, in one sentence each."""
    if seen.stuck:
        found = [f'The migration is not settled: {seen.reason}']
    else:
        found = [*_of_the_place(seen), *_of_the_end(seen)]
    if seen.doubled:
        found.append('The guest ran on both hosts.')
    found += [
        f'{v.missing} records of {v.disk} are missing and {v.wrong} are '
        f'wrong, of {v.written}.'
        for v in seen.verdicts
        if not v.intact
    ]
    if seen.changed:
        found.append(f'Data of {", ".join(seen.changed)} changed.')
    if seen.errors and not seen.may_see_errors:
        found.append(f'The guest saw errors: {", ".join(seen.errors[:3])}.')
    return found


def _of_the_place(seen: Evidence) -> list[str]:
    found = []
    if len(seen.at) > 1:
        found.append('The guest is active on both hosts.')
    if not seen.at and not seen.may_be_off:
        found.append(f'The guest has ended. {" ".join(seen.crashes)}'.strip())
    if seen.startable:
        found.append(f'The guest does not start: {seen.startable}')
    if seen.at and seen.authority not in seen.at:
        found.append(
            f'The guest is on the {seen.at[0]}, but the journal gave the '
            f'authority to the {seen.authority}.'
        )
    other = [side for side in seen.defined if side != seen.authority]
    if other:
        found.append(f'The guest is still defined on the {other[0]}.')
    if seen.elsewhere:
        found.append(
            f'Disks are not on the images of the host: '
            f'{", ".join(seen.elsewhere)}.'
        )
    return found


def _of_the_end(seen: Evidence) -> list[str]:
    found = []
    if seen.ended == CRASHED:
        found.append(f'The engine raised {seen.reason}')
    if seen.paused and not seen.wanted_paused:
        found.append('The guest stays paused.')
    if seen.wanted_paused and not seen.paused:
        found.append('The guest runs, though its owner paused it.')
    if not seen.writes:
        found.append('The guest does not write.')
    if seen.litter:
        found.append(f'Litter: {", ".join(seen.litter)}.')
    if seen.again:
        found.append(f'The next migration failed: {seen.again}')
    return found
