# SPDX-License-Identifier: Apache-2.0
"""A fault, and how faults get into a table.

A fault is a generator with up to four parts. The harness goes on to the next
part at these moments:

1. The migration is held: its journal has the new state, and the act of that
   state has not begun.
2. The migration goes on.
3. The first run of the migration has ended, or its process has. Services that
   are dead are started again after this part.
4. The result has been judged; another migration follows.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.states import State
from nova_blockcopy.tests.faults import stage as stages

Act = Callable[[stages.Stage], Iterator[None]]

_WAY = states.way(model.Mode.SEEDED)
#: The states of an undisturbed migration that a journal may have.
ALL = frozenset(_WAY) - {State.ENDED}
BOTH_MODES = frozenset(model.Mode)
SEEDED = frozenset({model.Mode.SEEDED})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault and the cells of the table that it fits.

    * ``about`` describes the fault for the documentation
    * ``driver`` is the only copy driver that it fits; '' for each
    * ``kinds`` are the disks of the guest, and ``base_kinds`` its bases, if
      these differ
    * ``shimmed``: whether both hosts have the library of :mod:`shim`
    * ``explains``: whether the fault is a reason for a stuck migration
    """

    name: str
    about: str
    act: Act
    states: frozenset[State] = ALL
    modes: frozenset[model.Mode] = BOTH_MODES
    driver: str = ''
    kinds: tuple[str, ...] = ('block', 'layered')
    base_kinds: tuple[str, ...] | None = None
    shimmed: bool = False
    explains: bool = True

    @property
    def usual(self) -> bool:
        """Whether the fault can happen to any guest on any host."""
        return self.base_kinds is None and not self.shimmed

    def fits(self, mode: model.Mode, state: State) -> bool:
        """Whether the fault can happen in a state of a mode."""
        return (
            mode in self.modes
            and state in self.states
            and state in states.way(mode)
        )


def into(table: dict[str, Fault]) -> Callable[..., Callable[[Act], Act]]:
    """Return a decorator that puts faults into a table.

    The decorator takes the name, the description, and other fields.
    """

    def fault(name: str, about: str, **fields: Any) -> Callable[[Act], Act]:
        def put(act: Act) -> Act:
            table[name] = Fault(name=name, about=about, act=act, **fields)
            return act

        return put

    return fault


def until(state: State) -> frozenset[State]:
    """Return the states up to a state, and that state, too."""
    return frozenset(_WAY[: _WAY.index(state) + 1])
