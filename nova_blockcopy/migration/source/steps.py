# SPDX-License-Identifier: Apache-2.0
"""The steps of a migration, each with an act and an undo.

The steps run on the source. The journal names a step before the step acts.
An undo does nothing if the step did nothing, and can be done twice. Unlike in
Nova's conductor tasks, a failed undo stops the others, because each undo makes
the next one safe. For example, an export may only close when the guest is
back on the source.

The fields of a step are all that the step needs. A step writes results into
the journal.
"""

import abc
import contextlib
import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from typing import ClassVar
from typing import TypeVar

from nova_blockcopy import conf
from nova_blockcopy import events
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import rehearsal
from nova_blockcopy.migration import monitor
from nova_blockcopy.migration.source import exports
from nova_blockcopy.migration.source import ledger as ledgers
from nova_blockcopy.migration.source import lookout
from nova_blockcopy.migration.source import merge
from nova_blockcopy.migration.source import obituary
from nova_blockcopy.migration.source import offer as offers
from nova_blockcopy.migration.source import pace
from nova_blockcopy.migration.source import remote
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import waiting

LOG = logging.getLogger(__name__)
T = TypeVar('T')

#: How often an order is sent, and the seconds between two attempts.
_ATTEMPTS = 5
_PAUSE = 1.0


class Step(abc.ABC):
    """One act of a migration.

    ``state`` is the state in the journal during the step. ``authority`` is
    the host that has the authoritative copy when the step begins.
    """

    state: ClassVar[states.State]
    authority: ClassVar[model.Role] = model.Role.SOURCE

    @abc.abstractmethod
    def execute(self) -> None:
        """Do the step.

        :raises BlockCopyError: all steps so far have to be undone
        """

    @abc.abstractmethod
    def undo(self) -> None:
        """Undo the step, which may be half done.

        :raises BlockCopyError: the undo failed; try again, or ask an operator
        """


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PrepareBases(Step):
    """The destination checks the bases, and opens a journal."""

    state = states.State.PREPARING
    destination: remote.RemoteDestination
    ledger: ledgers.Ledger
    offer: offers.Offer
    cancelled: threading.Event
    settings: conf.Settings

    def execute(self) -> None:
        with rehearsal.listening(self.offer.source, self.settings) as port:
            moves = self.destination.prepare(
                *(self.offer, port), dry_run=False, cancelled=self.cancelled
            )
        self.ledger.note(note='the bases fit', moves=moves)

    def undo(self) -> None:
        self.destination.discard()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExportDisks(Step):
    """The source exports the disks that the guest still uses."""

    state = states.State.EXPORTING
    exports: exports.Exports
    lookout: lookout.Lookout

    def execute(self) -> None:
        self.lookout.check()
        self.exports.serve_disks()

    def undo(self) -> None:
        self.exports.stop()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CopyDisks(Step):
    """The destination copies until each guest write goes to both hosts."""

    state = states.State.COPYING
    destination: remote.RemoteDestination
    exports: exports.Exports
    ledger: ledgers.Ledger
    monitor: monitor.Monitor
    pace: pace.Pace
    cancelled: threading.Event
    settings: conf.Settings

    def execute(self) -> None:
        """Have all disks copied.

        If an export ends, it is started again, and the copies with it. The
        guest reads and writes through the exports, so it pauses meanwhile.
        """
        ended = False

        def has_ended() -> bool:
            nonlocal ended
            ended = ended or not self.exports.alive()
            return ended

        _repeat(
            *(self._copy, has_ended, self.exports),
            lambda: self.monitor.retry(events.Retry.COPY),
            'The copies start again, because an export has ended: %s',
        )
        self.ledger.note(states.State.READY)

    def _copy(self) -> None:
        self.destination.copy(
            self.ledger.record.persistent_xml,
            self.pace.copy,
            self.pace.followed(
                self.destination.set_bandwidth, self.monitor.watch
            ),
            self.cancelled,
            synchronous_writes=self.settings.synchronous_writes,
            guest_bandwidth=self.pace.guest,
        )

    def undo(self) -> None:
        self.destination.abort()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PivotDisks(Step):
    """The guest switches to the bases, the new authoritative copy."""

    state = states.State.PIVOTING
    destination: remote.RemoteDestination
    exports: exports.Exports
    monitor: monitor.Monitor
    settings: conf.Settings

    def execute(self) -> None:
        """Have all disks pivoted.

        Once a disk has pivoted, the others have to follow. Their exports may
        have died meanwhile, so they are started again before the next order.
        """
        again = itertools.chain([False], itertools.repeat(True))
        _repeat(
            lambda: self._pivot(again=next(again)),
            *(self._pivoted, self.exports),
            lambda: self.monitor.retry(events.Retry.PIVOT),
            'The pivot is ordered again: %s',
        )

    def _pivot(self, *, again: bool) -> None:
        order = functools.partial(self.destination.pivot, again=again)
        insist(order, self.monitor.watch)

    def undo(self) -> None:
        pivoted = self._pivoted()
        if pivoted:
            raise exception.TooLate(
                reason=f'the guest uses the base for disk '
                f'{", ".join(pivoted)} already.'
            )

    def _pivoted(self) -> tuple[str, ...]:
        return self.destination.pivoted(self.settings.pivot_timeout)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSource(Step):
    """The source ends exports and removes deltas. Both journals close."""

    state = states.State.RELEASING
    authority = model.Role.DESTINATION
    guest: hypervisor.Guest
    destination: remote.RemoteDestination
    ledger: ledgers.Ledger
    exports: exports.Exports
    monitor: monitor.Monitor

    def execute(self) -> None:
        record = self.ledger.record
        ended = None
        with contextlib.suppress(exception.BlockCopyError):  # for the log only
            ended = obituary.of(self.guest, self.destination, record)
        if ended is not None:
            LOG.error('%s Its disks there are complete; start it.', ended)
        self.exports.stop()
        merge.drop(record.moves)
        found = insist(self.destination.finish)
        self.monitor.allocated_after = found.allocated
        self.monitor.longest_stop_s = found.longest_stop_s

    def undo(self) -> None:
        raise exception.TooLate(
            reason='the guest runs on its destination and uses its bases.'
        )


def _repeat(
    order: Callable[[], None],
    helps: Callable[[], Any],
    served: exports.Exports,
    told: Callable[[], None],
    message: str,
) -> None:
    """Give an order again if a job of the destination has failed.

    :param helps: asked after each failure whether another attempt may succeed
    :param served: the exports, which are started again before each attempt
    :param told: called before another attempt
    :param message: for the log, with a place for the error
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            order()
        except (exception.JobFailed, exception.DriverError) as e:
            if attempt == _ATTEMPTS or not helps():
                raise
            LOG.warning(message, e)
            told()
            served.revive_disks()
            threading.Event().wait(_PAUSE)
        else:
            return


def take_back(begun: Iterable[Step], ledger: ledgers.Ledger) -> None:
    """Undo steps, the last one first. The first failure ends the undo."""
    for step in reversed(tuple(begun)):
        if states.can_undo(ledger.record.state):
            ledger.note(states.State.UNDOING, f'undo {step.state}')
        step.undo()


def insist(order: Callable[..., T], *arguments: Any) -> T:
    """Send an order again if the destination does not answer.

    This is for orders that can be given twice, and when the migration can no
    longer be undone, or soon no longer. A nova-compute that is restarting gets
    time to come back.

    :raises PeerError: the destination did not answer any of the attempts
    """
    again = waiting.retrying(exception.PeerError, _ATTEMPTS, _PAUSE)
    return again(order, *arguments)
