# SPDX-License-Identifier: Apache-2.0
"""The states of a migration and the steps allowed between them.

A state names the act that is about to be done or is being done: it is
written into the journal before the act, so what a journal says may be half
done, and what comes after it is not begun.
"""

import enum
import itertools

from nova_blockcopy import exception
from nova_blockcopy import model


class State(enum.StrEnum):
    """What a migration is at; the same words on both hosts.

    Until PIVOTING the source disks are the authoritative copy: they are
    complete and current, because each guest write reaches them.
    """

    #: The destination checks its bases and opens its journal.
    PREPARING = 'preparing'
    #: Seeded mode: the guest's writes go to new deltas on the source.
    FREEZING = 'freezing'
    #: Seeded mode: the bases are filled from what does not change any more.
    SEEDING = 'seeding'
    #: The source starts its NBD servers. The guest runs on the source.
    EXPORTING = 'exporting'
    #: libvirt migrates memory. The guest runs on one of the hosts.
    SWITCHING = 'switching'
    #: The guest runs on the destination; its bases are being filled.
    COPYING = 'copying'
    #: All copies mirror: each guest write goes to both hosts.
    READY = 'ready'
    #: Point of no return: some disk may already live on its base only.
    PIVOTING = 'pivoting'
    #: All disks are proven to live on their bases; the source gives up.
    RELEASING = 'releasing'
    #: Steps are taken back, the last one first.
    UNDOING = 'undoing'
    #: Neither forward nor back without a person; nothing was removed.
    STUCK = 'stuck'
    #: The end, either way. Never on disk: the journal is closed instead.
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

#: Only seeded mode has these.
_SEEDED_ONLY = (State.FREEZING, State.SEEDING)


def way(mode: model.Mode) -> tuple[State, ...]:
    """The states of a migration that nothing disturbs, in order."""
    seeded = mode is model.Mode.SEEDED
    return tuple(s for s in _FORWARD if seeded or s not in _SEEDED_ONLY)


#: States from which all is taken back without loss.
REVERSIBLE = frozenset(_FORWARD[: _FORWARD.index(State.PIVOTING)])

ALLOWED = frozenset(
    [
        *itertools.pairwise(_FORWARD),
        # direct mode does without the states of the seeded mode
        (State.PREPARING, State.EXPORTING),
        # what has gathered in the deltas meanwhile is seeded too
        (State.SEEDING, State.FREEZING),
        # the destination has nothing to do between its check and its copy,
        # but to be seeded
        (State.PREPARING, State.COPYING),
        (State.PREPARING, State.SEEDING),
        (State.SEEDING, State.COPYING),
        # a copy that failed before its disk pivoted is started again
        (State.READY, State.COPYING),
        *((state, State.UNDOING) for state in REVERSIBLE),
        # not even the first step back could be written down
        *((state, State.STUCK) for state in REVERSIBLE),
        # a pivot that no disk has passed is taken back like anything else
        (State.PIVOTING, State.UNDOING),
        (State.PIVOTING, State.STUCK),
        (State.RELEASING, State.STUCK),
        (State.UNDOING, State.STUCK),
        (State.UNDOING, State.ENDED),
        # the way back turned out to be closed, or somebody put right what
        # was in the way: it goes on where it stopped
        (State.UNDOING, State.PIVOTING),
        (State.STUCK, State.PIVOTING),
        (State.STUCK, State.UNDOING),
        (State.STUCK, State.RELEASING),
    ]
)


#: The pivot and the steps after it.
IRREVERSIBLE = frozenset(_FORWARD) - REVERSIBLE - {State.ENDED}
#: In these, some disk may have pivoted already.
MAY_HAVE_PIVOTED = IRREVERSIBLE | {State.UNDOING, State.STUCK}


def can_undo(state: State) -> bool:
    """Whether something is left to take back from this state."""
    return (state, State.UNDOING) in ALLOWED or state is State.UNDOING


def check(old: State, new: State) -> None:
    """Pass if a migration may go from one state to the other.

    Staying is always allowed: each step can be done twice.

    :raises InvalidTransition: it may not
    """
    if old != new and (old, new) not in ALLOWED:
        raise exception.InvalidTransition(old=old, new=new)
