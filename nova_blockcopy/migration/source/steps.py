# SPDX-License-Identifier: Apache-2.0
"""The steps of a migration, each with its act and its way back.

Runs on the source. A step writes the journal, then acts. An undo does
nothing where the step did nothing, and can be done twice. Unlike in Nova's
conductor tasks a failed undo stops the others: each is what makes the one
after it safe (an export may only close when the guest is back).

The fields of a step are all that it needs. A step gives its results to the
journal.
"""

import abc
import dataclasses
import threading
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from typing import ClassVar

from oslo_log import log as logging

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration.source import exports
from nova_blockcopy.migration.source import ledger as ledgers
from nova_blockcopy.migration.source import merge
from nova_blockcopy.migration.source import monitor
from nova_blockcopy.migration.source import obituary
from nova_blockcopy.migration.source import offer as offers
from nova_blockcopy.migration.source import pace
from nova_blockcopy.migration.source import remote
from nova_blockcopy.runtime import waiting

LOG = logging.getLogger(__name__)

#: How often an order is given, and seconds between.
_ATTEMPTS = 5
_PAUSE = 1.0


class Step(abc.ABC):
    """One act of a migration.

    ``state`` is what the journal says while it is done, ``authority`` whose
    disks are the authoritative copy when it begins.
    """

    state: ClassVar[states.State]
    authority: ClassVar[model.Role] = model.Role.SOURCE

    @abc.abstractmethod
    def execute(self) -> None: ...

    @abc.abstractmethod
    def undo(self) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PrepareBases(Step):
    """The destination proves its bases, and opens its journal."""

    state = states.State.PREPARING
    destination: remote.RemoteDestination
    ledger: ledgers.Ledger
    offer: offers.Offer
    cancelled: threading.Event

    def execute(self) -> None:
        moves = self.destination.prepare(
            self.offer, dry_run=False, cancelled=self.cancelled
        )
        self.ledger.note(note='the bases fit', moves=moves)

    def undo(self) -> None:
        self.destination.discard()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExportDisks(Step):
    """The source serves its disks; the guest still runs on them."""

    state = states.State.EXPORTING
    exports: exports.Exports

    def execute(self) -> None:
        self.exports.serve_disks()

    def undo(self) -> None:
        self.exports.stop()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CopyDisks(Step):
    """The destination fills its bases until each guest write goes to both."""

    state = states.State.COPYING
    destination: remote.RemoteDestination
    ledger: ledgers.Ledger
    monitor: monitor.Monitor
    pace: pace.Pace
    cancelled: threading.Event
    settings: conf.Settings

    def execute(self) -> None:
        self.destination.copy(
            self.ledger.record.persistent_xml,
            self.pace.copy,
            self.monitor.watch,
            self.cancelled,
            synchronous_writes=self.settings.synchronous_writes,
            guest_bandwidth=self.pace.guest,
        )
        self.ledger.note(states.State.READY)
        self.monitor.watch(states.State.READY)

    def undo(self) -> None:
        self.destination.abort()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PivotDisks(Step):
    """The authoritative copy changes; proven before anything else is done."""

    state = states.State.PIVOTING
    destination: remote.RemoteDestination
    monitor: monitor.Monitor
    settings: conf.Settings

    def execute(self) -> None:
        insist(self.destination.pivot, self.monitor.watch)

    def undo(self) -> None:
        pivoted = self.destination.pivoted(self.settings.pivot_timeout)
        if pivoted:
            raise exception.TooLate(
                reason=f'{", ".join(pivoted)} lives on its base already.'
            )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSource(Step):
    """The source gives up what it served; both journals are closed."""

    state = states.State.RELEASING
    authority = model.Role.DESTINATION
    guest: hypervisor.Guest
    destination: remote.RemoteDestination
    ledger: ledgers.Ledger
    exports: exports.Exports

    def execute(self) -> None:
        record = self.ledger.record
        ended = obituary.of(self.guest, self.destination, record)
        if ended is not None:
            LOG.error('%s Its disks there are complete; start it.', ended)
        self.exports.stop()
        merge.drop(record.moves)
        insist(self.destination.finish)

    def undo(self) -> None:
        raise exception.TooLate(
            reason='the guest is at home on its destination, with all its '
            'disks.'
        )


def take_back(
    begun: Iterable[Step], ledger: ledgers.Ledger, told: monitor.Monitor
) -> None:
    """Undo steps, the last one first; the first failure ends it."""
    for step in reversed(tuple(begun)):
        if states.can_undo(ledger.record.state):
            ledger.note(states.State.UNDOING, f'undo {step.state}')
            told.watch(states.State.UNDOING)
        step.undo()


def insist(order: Callable[..., None], *arguments: Any) -> None:
    """Give an order again that the destination may have forgotten.

    For those that can be given twice, where the way back is closed or about
    to be: a process that is starting again is waited for.
    """
    again = waiting.retrying(exception.PeerError, _ATTEMPTS, _PAUSE)
    again(order, *arguments)
