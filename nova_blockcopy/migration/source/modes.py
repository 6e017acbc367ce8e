# SPDX-License-Identifier: Apache-2.0
"""The order of the steps in each mode, by the state of each step. Pure."""

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.migration import objections
from nova_blockcopy.records import journal
from nova_blockcopy.states import State

#: States without a step: all copies are ready, the migration has ended.
_NO_STEPS = (State.READY, State.ENDED)
ORDER = {
    mode: tuple(s for s in states.way(mode) if s not in _NO_STEPS)
    for mode in model.Mode
}


def begun(record: journal.Record) -> tuple[State, ...]:
    """The states of the steps that a migration has begun, in order."""
    seen = {entry.state for entry in record.history}
    return tuple(state for state in ORDER[record.mode] if state in seen)


def ahead(record: journal.Record) -> tuple[State, ...]:
    """The states of the steps that are left after a crash.

    The migration must have pivoted at least one disk.
    """
    # if a step after the pivot was begun, the pivot is not repeated
    order = ORDER[record.mode]
    return order[order.index(begun(record)[-1]) :]


def why_not_seeded(error: exception.BlockCopyError) -> BaseException | None:
    """Return the reason why a guest cannot be seeded; None for other errors.

    All steps were undone in that case. A stuck migration never begins anew.
    Space that runs out after the first check is another error.
    """
    if isinstance(error, objections.AGAINST_SEEDING):
        return error
    if isinstance(error, exception.GuestEnded):
        return None
    if isinstance(error, exception.MigrationUndone) and isinstance(
        error.__cause__, exception.CannotFreeze
    ):
        return error.__cause__
    return None
