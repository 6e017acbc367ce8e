# SPDX-License-Identifier: Apache-2.0
"""The plan of a soak: what happens in each migration. Pure.

The plan depends on the seed only, so a seed repeats a run.
"""

import dataclasses
import itertools
import random
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TypeVar

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.tests.faults import acts
from nova_blockcopy.tests.faults import faults

T = TypeVar('T')

KINDS = ('block', 'raw', 'qcow2', 'layered')
DRIVERS = ('libvirt', 'virsh')
#: How a guest writes besides its records.
RECORDS, LOAD, CHAOS = 'records', 'load', 'chaos'
#: MiB/s of the disks together, and Mbit/s of the link; 0 = no limit.
_LIMITS = (0, 0, 8, 32)
#: Those under which a copy of chaos comes to an end.
_HIGH = (0, 0, 32)
_LINKS = (0, 0, 100, 1000)
#: The longest delay of a fault after the begin of its state, in seconds.
_DELAY = 1.5
#: Migrations of one guest, at most.
_MIGRATIONS = 6
#: The share of migrations in which the owner does something.
_OWNER = 0.3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """A fault or an act of the owner, by name, and its moment.

    The moment is ``delay`` seconds after the begin of a state.
    """

    name: str
    state: states.State
    delay: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """One migration of a soak.

    ``guest`` is the number of the guest; a new number is a new guest, which
    starts on host a. ``limit`` is in MiB/s and ``link`` in Mbit/s.
    """

    number: int
    guest: int
    kinds: tuple[str, ...]
    writes: str
    mode: str
    driver: str
    limit: int
    link: int
    blows: tuple[Blow, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a soak chooses from.

    ``most_faults`` is the number of faults in one migration, at most; with 0
    the owner does nothing either. ``always`` is a fault of each migration.
    """

    kinds: tuple[str, ...] = ()
    modes: Sequence[str] = tuple(model.Mode)
    drivers: Sequence[str] = DRIVERS
    writes: Sequence[str] = (RECORDS, RECORDS, LOAD, CHAOS)
    most_faults: int = 2
    always: str = ''


def trips(seed: int, choice: Choice) -> Iterator[Trip]:
    """Yield the migrations of a soak, without end."""
    number = 0
    for guest in itertools.count():
        chance = random.Random(f'{seed}/guest/{guest}')
        kinds = choice.kinds or tuple(
            chance.choice(KINDS) for _disk in range(chance.randint(1, 3))
        )
        writes = chance.choice(choice.writes)
        for _migration in range(chance.randint(1, _MIGRATIONS)):
            yield _trip(seed, number, guest, kinds, writes, choice)
            number += 1


def _trip(
    seed: int,
    number: int,
    guest: int,
    kinds: tuple[str, ...],
    writes: str,
    choice: Choice,
) -> Trip:
    chance = random.Random(f'{seed}/{number}')
    mode = chance.choice(choice.modes)
    driver = chance.choice(choice.drivers)
    return Trip(
        number=number,
        guest=guest,
        kinds=kinds,
        writes=writes,
        mode=mode,
        driver=driver,
        limit=chance.choice(_HIGH if writes == CHAOS else _LIMITS),
        link=chance.choice(_LINKS),
        blows=_blows(chance, mode, driver, choice),
    )


def _blows(
    chance: random.Random, mode: str, driver: str, choice: Choice
) -> tuple[Blow, ...]:
    found = []
    if choice.always:
        found.append(_blow(chance, choice.always, [states.State.SWITCHING]))
    if not choice.most_faults:
        return tuple(found)
    fitting = [
        fault
        for fault in faults.FAULTS.values()
        if fault.name != 'none'
        and fault.usual
        and mode in fault.modes
        and fault.driver in ('', driver)
    ]
    way = states.way(model.Mode(mode))[:-1]
    for fault in chance.sample(fitting, chance.randint(1, choice.most_faults)):
        at = [state for state in way if state in fault.states]
        found.append(_blow(chance, fault.name, at))
    if chance.random() < _OWNER:
        found.append(_blow(chance, chance.choice(list(acts.ACTS)), way))
    return tuple(found)


def _blow(
    chance: random.Random, name: str, at: Sequence[states.State]
) -> Blow:
    return Blow(
        name=name,
        state=chance.choice(at),
        delay=round(max(0.0, chance.uniform(-_DELAY / 3, _DELAY)), 2),
    )
