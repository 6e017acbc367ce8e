# SPDX-License-Identifier: Apache-2.0
"""The hook in the journal of a service, and the clock of a service.

A service that is armed for a state stops after the journal with that state is
on stable storage, and before the act of that state.
"""

import datetime
import os
import signal
import threading
import types
from collections.abc import Iterable

from nova_blockcopy import model
from nova_blockcopy.records import journal
from nova_blockcopy.tests.faults import trace as traces


class Hook:
    """Traces each write of the journal, and holds a migration on order.

    :param trace: gets the events
    """

    def __init__(self, trace: traces.Trace) -> None:
        self._trace = trace
        self._armed: set[str] = set()
        self._held: dict[str, threading.Event] = {}
        #: The write of the journal before which the process dies; 0 = none.
        self._last = 0
        self._pivoted = False
        self._lock = threading.Lock()

    def install(self) -> None:
        """Put the hook into the journal of this process, for good."""
        write, close = journal.Journal._write, journal.Journal.close
        hook = self

        def _write(
            self: journal.Journal, record: journal.Record, note: str
        ) -> journal.Record:
            hook.perhaps_die(record)
            written = write(self, record, note)
            hook.passed(written, note)
            return written

        def _close(self: journal.Journal, guest: str) -> None:
            close(self, guest)
            hook._trace.add(closed=guest)

        journal.Journal._write = _write  # type: ignore[method-assign]
        journal.Journal.close = _close  # type: ignore[method-assign]

    def arm(self, states: Iterable[str]) -> None:
        """Hold the source's migration at the first write of each state.

        The migration goes on if it is held at another state.
        """
        with self._lock:
            self._armed = set(states)
            for state in self._held.keys() - self._armed:
                self._held.pop(state).set()

    def die_at(self, write: int = 0, *, pivoted: bool = False) -> None:
        """Kill this process by SIGKILL before a later write of the journal.

        :param write: 1 for the next write; 0 for no certain one
        :param pivoted: the write that tells of the first disk that pivoted
        """
        with self._lock:
            self._last, self._pivoted = write, pivoted

    def perhaps_die(self, record: journal.Record) -> None:
        """Kill this process if the write that it must not do has come."""
        with self._lock:
            self._last -= 1
            if not self._last or (self._pivoted and record.pivoted):
                os.kill(os.getpid(), signal.SIGKILL)

    def release(self, state: str) -> None:
        """Let a migration go on that is held at a state."""
        with self._lock:
            self._held.pop(state).set()

    def passed(self, record: journal.Record, note: str) -> None:
        """Trace a record, and wait if its state is armed."""
        self._trace.add(
            wrote=record.state,
            role=record.role,
            authority=record.authority,
            note=note,
        )
        if record.role is not model.Role.SOURCE:
            return
        with self._lock:
            if record.state not in self._armed:
                return
            self._armed.discard(record.state)
            released = self._held[record.state] = threading.Event()
        self._trace.add(held=record.state)
        released.wait()


def shift_clock(seconds: float) -> None:
    """Have the journal of this process read another time.

    :param seconds: added to the time; a negative number sets the clock back
    """

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> 'Shifted':
            moved = super().now(tz) + datetime.timedelta(seconds=seconds)
            return cls.fromisoformat(moved.isoformat())

    vars(journal)['datetime'] = types.SimpleNamespace(
        datetime=Shifted, UTC=datetime.UTC
    )
