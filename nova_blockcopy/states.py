# SPDX-License-Identifier: Apache-2.0
"""The states of a migration and the steps allowed between them.

A state names one act of a migration. The engine writes the state into the
journal before the act. So the act that a journal names may be half done, and
the next act has not begun.
"""

import enum
import itertools

from nova_blockcopy import exception
from nova_blockcopy import model


class State(enum.StrEnum):
    """A state of a migration; both hosts use the same states.

    Before PIVOTING the disks on the source are the authoritative copy. They
    are complete and current, because each write of the guest reaches them.
    """

    #: The destination checks the bases and opens its journal.
    PREPARING = 'preparing'
    #: Seeded mode: the guest switches to new deltas on the source.
    FREEZING = 'freezing'
    #: Seeded mode: the destination copies the frozen images into the bases.
    SEEDING = 'seeding'
    #: The source starts its NBD servers. The guest runs on the source.
    EXPORTING = 'exporting'
    #: libvirt migrates the memory. The guest runs on one of the hosts.
    SWITCHING = 'switching'
    #: The guest runs on the destination, which copies the disks into the
    #: bases.
    COPYING = 'copying'
    #: All copies mirror: each write of the guest goes to both hosts.
    READY = 'ready'
    #: The disks pivot. From the first pivot on the migration cannot be undone.
    PIVOTING = 'pivoting'
    #: All disks are proven to be on their bases. The source ends its exports.
    RELEASING = 'releasing'
    #: The disks are done, on either host. The caller of the engine, such as
    #: Nova, has its own part left, and closes the journals after that.
    SETTLED = 'settled'
    #: The steps are undone, the last one first.
    UNDOING = 'undoing'
    #: The migration needs an operator to go on or back. No disk was removed.
    STUCK = 'stuck'
    #: The migration has ended, either way. The journal is closed, so no
    #: journal has this state.
    ENDED = 'ended'


_FORWARD = (
    State.PREPARING,
    State.FREEZING,
    State.SEEDING,
    State.EXPORTING,
    State.SWITCHING,
    State.COPYING,
    State.READY,
    State.PIVOTING,
    State.RELEASING,
    State.ENDED,
)

#: The states that only seeded mode has.
_SEEDED_ONLY = (State.FREEZING, State.SEEDING)


def way(mode: model.Mode) -> tuple[State, ...]:
    """The states of an undisturbed migration, in order."""
    seeded = mode is model.Mode.SEEDED
    return tuple(s for s in _FORWARD if seeded or s not in _SEEDED_ONLY)


#: The states from which a migration can be undone without loss.
REVERSIBLE = frozenset(_FORWARD[: _FORWARD.index(State.PIVOTING)])

ALLOWED = frozenset(
    [
        *itertools.pairwise(_FORWARD),
        # direct mode skips the states that only seeded mode has
        (State.PREPARING, State.EXPORTING),
        # another round seeds the writes that the deltas took meanwhile
        (State.SEEDING, State.FREEZING),
        # the destination does not freeze, export or switch over
        (State.PREPARING, State.COPYING),
        (State.PREPARING, State.SEEDING),
        (State.SEEDING, State.COPYING),
        # a copy that failed before its pivot starts again
        (State.READY, State.COPYING),
        *((state, State.UNDOING) for state in REVERSIBLE),
        # the journal could not be written for the first step back
        *((state, State.STUCK) for state in REVERSIBLE),
        # as long as no disk has pivoted, the pivot can be undone
        (State.PIVOTING, State.UNDOING),
        (State.PIVOTING, State.STUCK),
        (State.RELEASING, State.STUCK),
        (State.UNDOING, State.STUCK),
        (State.UNDOING, State.ENDED),
        # only if the caller has a part of its own after the engine
        (State.RELEASING, State.SETTLED),
        (State.UNDOING, State.SETTLED),
        (State.SETTLED, State.ENDED),
        # a disk turned out to have pivoted, or an operator removed the
        # obstacle: the migration goes on where it stopped
        (State.UNDOING, State.PIVOTING),
        (State.STUCK, State.PIVOTING),
        (State.STUCK, State.UNDOING),
        (State.STUCK, State.RELEASING),
    ]
)


#: The states of the pivot and of the steps after it.
IRREVERSIBLE = frozenset(_FORWARD) - REVERSIBLE - {State.ENDED}
#: The states in which a disk may have pivoted.
MAY_HAVE_PIVOTED = IRREVERSIBLE | {State.UNDOING, State.STUCK}


def can_undo(state: State) -> bool:
    """Whether a migration in this state may still be undone.

    A migration in PIVOTING can be undone only while no disk has pivoted.
    """
    return (state, State.UNDOING) in ALLOWED or state is State.UNDOING


def check(old: State, new: State) -> None:
    """Pass if a migration may go from one state to the other.

    A migration may always stay in its state, because each step can be done
    twice.

    :raises InvalidTransition: the table does not allow the transition
    """
    if old != new and (old, new) not in ALLOWED:
        raise exception.InvalidTransition(old=old, new=new)
