# SPDX-License-Identifier: Apache-2.0
"""The events of a migration, for all that tells people about it. Pure.

An observer gets each event, and turns it into a report, a line of a log, a
metric or a notification. Both hosts have such events, each of its own part.
"""

import dataclasses
import enum
from collections.abc import Callable

from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states

#: The states in which the guest depends on both hosts.
REMOTE = (states.State.COPYING, states.State.READY, states.State.PIVOTING)


class Retry(enum.StrEnum):
    """An act that has failed, and is done again."""

    #: A piece of a disk is seeded.
    PIECE = 'piece'
    #: An export that has ended is started.
    EXPORT = 'export'
    #: All disks are copied after the switchover.
    COPY = 'copy'
    #: All disks pivot.
    PIVOT = 'pivot'


class Outcome(enum.StrEnum):
    """How a migration has ended for the engine."""

    #: The guest uses the disks of the destination.
    COMPLETED = 'completed'
    #: The guest is on the source, because a step failed.
    UNDONE = 'undone'
    #: The guest is on the source, because somebody asked for that.
    ABORTED = 'aborted'
    #: The engine can neither go on nor back. The journals stay.
    STUCK = 'stuck'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The migration that an event is about.

    ``migration`` is its id, ``guest`` the UUID of the guest and ``name`` its
    name. ``role`` is the side of this host, and ``peer`` the other host.
    """

    migration: str
    guest: str
    name: str
    role: model.Role
    mode: model.Mode
    peer: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The base of all events."""

    subject: Subject


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """This host has a journal of the migration, or goes on with an old one.

    ``state`` is that of the journal, and ``limit`` the bandwidth limit for
    all disks together, in bytes/s; 0 = no limit. ``disks`` has the size of
    each disk that moves, in bytes. ``home`` and ``destination`` are the URIs
    at which the two libvirts reach each other; only the source has them.
    """

    state: states.State
    limit: int
    disks: dict[str, int] = dataclasses.field(default_factory=dict)
    home: str = ''
    destination: str = ''


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PhaseChanged(Event):
    """The journal has another state.

    ``before`` is the last state, which took so many ``seconds``. ``note`` is
    that of the journal.
    """

    before: states.State
    state: states.State
    note: str = ''
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Progressed(Event):
    """There are new figures."""

    progress: progress.Progress


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Retried(Event):
    """An act has failed, and is done again."""

    act: Retry


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Heard(Event):
    """The destination has left a message unanswered for so many seconds.

    The source has this event every 30 seconds.
    """

    silent_s: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """The engine has come to an end, on this host.

    ``reason`` says why the guest is not on the destination; '' if it is.
    ``copied_bytes`` have been copied for all disks together. ``phases`` has
    the seconds that each state took. ``longest_stop_s`` is the longest time
    in seconds for which the guest stood still. ``allocated_before`` are the
    bytes that the disks occupied on the source, and ``allocated_after`` those
    that the bases occupy. The last three are None if they are not known.
    """

    outcome: Outcome
    reason: str
    copied_bytes: int
    phases: dict[states.State, float]
    longest_stop_s: float | None = None
    allocated_before: int | None = None
    allocated_after: int | None = None

    @property
    def duration_s(self) -> float:
        """Seconds of all phases."""
        return sum(self.phases.values())

    @property
    def remote_window_s(self) -> float | None:
        """Seconds for which the guest depended on both hosts.

        None if the guest had not left the source.
        """
        if states.State.COPYING not in self.phases:
            return None
        return sum(self.phases.get(state, 0.0) for state in REMOTE)


#: A function that gets each event. It must return quickly, and may be called
#: from any thread. Its errors are logged and do not concern the migration.
Observer = Callable[[Event], None]


def on_progress(listener: Callable[[progress.Progress], None]) -> Observer:
    """An observer for a function that only wants the figures."""

    def observe(event: Event) -> None:
        if isinstance(event, Progressed):
            listener(event.progress)

    return observe
