# SPDX-License-Identifier: Apache-2.0
"""The order of the steps in each mode, by the state of each step. Pure."""

from nova_blockcopy import model
from nova_blockcopy.records import journal
from nova_blockcopy.states import State

_DIRECT = (
    State.PREPARING,
    State.EXPORTING,
    State.SWITCHING,
    State.COPYING,
    State.PIVOTING,
    State.RELEASING,
)
ORDER = {
    model.Mode.DIRECT: _DIRECT,
    model.Mode.SEEDED: (
        State.PREPARING,
        State.FREEZING,
        State.SEEDING,
        *_DIRECT[1:],
    ),
}


def begun(record: journal.Record) -> tuple[State, ...]:
    """The steps that a record tells of, in order."""
    seen = {entry.state for entry in record.history}
    return tuple(state for state in ORDER[record.mode] if state in seen)


def ahead(record: journal.Record) -> tuple[State, ...]:
    """The steps that are left, once a disk has pivoted."""
    # not from the pivot again: it is proven where a later one was begun
    order = ORDER[record.mode]
    return order[order.index(begun(record)[-1]) :]
