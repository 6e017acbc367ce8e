# SPDX-License-Identifier: Apache-2.0
"""One migration: all steps in order, and their undo. Runs on the source.

Only the source decides between pivot and abort, so the two cannot collide.
"""

import dataclasses
import functools
import threading
import uuid
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import NoReturn
from typing import TypeVar

from nova_blockcopy import conf
from nova_blockcopy import events
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import reach
from nova_blockcopy.host import rehearsal
from nova_blockcopy.host import usage
from nova_blockcopy.migration import control
from nova_blockcopy.migration import monitor
from nova_blockcopy.migration import peer
from nova_blockcopy.migration import progress_log
from nova_blockcopy.migration.source import itinerary
from nova_blockcopy.migration.source import ledger as ledgers
from nova_blockcopy.migration.source import modes
from nova_blockcopy.migration.source import obituary
from nova_blockcopy.migration.source import orders
from nova_blockcopy.migration.source import pace
from nova_blockcopy.migration.source import readiness
from nova_blockcopy.migration.source import remote
from nova_blockcopy.migration.source import sentry
from nova_blockcopy.migration.source import steps
from nova_blockcopy.migration.source import switch_over
from nova_blockcopy.records import journal
from nova_blockcopy.records import lock
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)
T = TypeVar('T')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A migration that a caller asks for.

    ``guest`` is a UUID or a name. ``bases`` has the base of each disk to
    move; the base must exist. ``shared`` has the disks that the destination
    reaches without a copy, each with the reason. ``home`` is the endpoint at
    which the destination's libvirt reaches this host, and ``destination`` is
    the endpoint for the other direction. ``peer`` is the caller's name for
    the destination, for the journal and for the check of the destination's
    certificate; if it is empty, the host in the URI counts. ``held`` leaves
    both journals open, in state SETTLED, until the caller has done its own
    part. ``memo`` has the caller's data for that part.
    """

    guest: str
    bases: Mapping[str, model.BaseRequest]
    home: model.Endpoint
    destination: model.Endpoint
    peer: str = ''
    shared: Mapping[str, str] = dataclasses.field(default_factory=dict)
    held: bool = False
    memo: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The disks that a migration will move, and those that stay."""

    guest: str
    mode: model.Mode
    moves: tuple[model.Move, ...]
    left_alone: tuple[plan.LeftAlone, ...]


class Migration:
    """Moves one running guest with the guest's disks to another host.

    :param here: this host's libvirt
    :param channel: to the destination
    :param observers: called with each event
    :param switch: moves the guest's memory, for a caller that has a live
        migration already; by default, libvirt's peer-to-peer migration does
    """

    def __init__(
        self,
        request: Request,
        here: hypervisor.Hypervisor,
        channel: peer.Channel,
        settings: conf.Settings,
        *,
        observers: Iterable[events.Observer] = (),
        switch: switch_over.Switch | None = None,
    ) -> None:
        self._request = request
        self._here = here
        self._readiness = readiness.Readiness(here, settings)
        self._channel = channel
        self._settings = settings
        self._observers = tuple(observers)
        self._switch = switch
        self._pace = pace.Pace(copy=settings.copy.bandwidth)
        self._door = threading.Lock()
        self._cancelled = threading.Event()
        self._decided = False
        self._set_out(settings.mode)

    def _set_out(self, mode: model.Mode) -> None:
        self.id = str(uuid.uuid4())
        self._mode = mode
        self._pace.guest = 0
        self._monitor = monitor.reporting(
            self._settings, self._observers, self._pace.copy
        )
        self._parts: itinerary.Parts | None = None
        self._steps: dict[states.State, steps.Step] = {}
        self._ahead = list(modes.ORDER[mode])
        self._begun: list[steps.Step] = []

    @property
    def state(self) -> states.State:
        """The last state in the journal; PREPARING before there is one."""
        parts = self._parts
        return parts.ledger.record.state if parts else states.State.PREPARING

    @property
    def progress(self) -> progress.Progress:
        """The present progress of the migration."""
        return self._monitor.progress

    def plan(self) -> Plan:
        """Check the migration on both hosts, and change nothing.

        :raises Refused: the migration is not possible
        """
        return self._in_some_mode(self._plan)

    def _plan(self) -> Plan:
        parts = self._look()
        try:
            with rehearsal.listening(self._here.host, self._settings) as port:
                moves = parts.destination.prepare(
                    *(parts.offer, port),
                    dry_run=True,
                    cancelled=self._cancelled,
                )
        finally:
            parts.destination.discard()
        return Plan(
            guest=parts.guest.name,
            mode=self._mode,
            moves=moves,
            left_alone=parts.offer.selection.left_alone,
        )

    def run(
        self, through: states.State = states.State.RELEASING
    ) -> journal.Record:
        """Do all steps up to the step of a state, and that step, too.

        A later call continues after that step.

        :param through: the state of the last step to do
        :returns: the last record of the journal
        :raises Refused: the migration is not possible; nothing was changed
        :raises HypervisorError: libvirt does not answer; nothing was changed
        :raises JournalError: it cannot be read or written; nothing was changed
        :raises MigrationUndone: all steps were undone
        :raises MigrationStuck: a step could not be undone
        """
        return self._in_some_mode(functools.partial(self._run, through))

    def _in_some_mode(self, work: Callable[[], T]) -> T:
        """Work again in direct mode if the guest cannot be seeded.

        In that case nothing has been changed, or all steps were undone.
        """
        with logging.about(self._uuid()):
            try:
                return work()
            except exception.BlockCopyError as e:
                reason = modes.why_not_seeded(e)
                if self._mode is model.Mode.DIRECT or reason is None:
                    raise
                LOG.warning(
                    'The guest cannot be seeded. Its disks are copied in full '
                    'after the switchover: %s',
                    reason,
                )
            self.close()
            self._set_out(model.Mode.DIRECT)
            return work()

    def _uuid(self) -> str | None:
        parts = self._parts
        found = parts.guest if parts else self._here.find(self._request.guest)
        return found.uuid if found else None

    def _run(self, through: states.State) -> journal.Record:
        parts = self._parts or self._look()
        directory, guest = self._settings.journal_dir, parts.guest.uuid
        with (
            lock.held(directory, guest),
            control.listening(directory, guest, orders.handler(self)),
            progress_log.beating(self._monitor, parts.destination.silent_s),
        ):
            self._go(through, parts)
        return parts.ledger.record

    def _go(self, through: states.State, parts: itinerary.Parts) -> None:
        if self._parts is None:
            self._monitor.sizes = parts.offer.sizes
            self._monitor.allocated_before = usage.total(parts.offer.images)
            parts.ledger.open()
            self._steps = itinerary.steps_of(parts)
            self._parts = parts
        try:
            guard = sentry.Sentry(parts.ledger, self._settings, self.abort)
            with guard.on_guard():
                while self._ahead and (
                    not self._begun or self._begun[-1].state is not through
                ):
                    self._take(self._ahead.pop(0), parts)
        except BaseException as e:  # an interrupt undoes all steps, too
            self._give_up(parts, e)
        if not self._ahead:
            self._settle(parts, events.Outcome.COMPLETED)

    def close(self) -> None:
        """Close both journals, if the migration is settled.

        :raises PeerError: the destination does not answer
        """
        parts = self._parts
        if parts and parts.ledger.record.state is states.State.SETTLED:
            parts.destination.close(parts.ledger.record.authority)
            parts.ledger.close()

    def abort(self) -> bool:
        """Ask to undo the migration. May be called from any thread.

        :returns: False if the pivot has begun, so that the abort is too late
        """
        with self._door:
            if not self._decided:
                self._cancelled.set()
            return not self._decided

    def set_bandwidth(self, mib_per_s: int) -> None:
        """Change the limit for all disks together.

        :param mib_per_s: MiB/s; 0 lifts the limit
        :raises InvalidOption: the limit is negative or too large
        """
        self._pace.copy = self._monitor.limit = conf.bytes_per_s(mib_per_s)
        if self._parts is not None:
            self._parts.destination.set_bandwidth(self._pace.copy)

    def _look(self) -> itinerary.Parts:
        """Check this host and the guest, and change nothing."""
        request, settings = self._request, self._settings
        guest = self._readiness.guest(request.guest)
        selection = self._readiness.select(
            guest, request.bases, request.shared
        )
        if self._mode is model.Mode.SEEDED:
            self._readiness.deltas()
        reach.check_destination(
            guest.host, request.destination.uri, settings.call_timeout
        )
        ledger = ledgers.Ledger(
            journal.Journal(settings.journal_dir),
            self._record(guest),
            self._monitor,
        )
        self._readiness.peer(ledger.record.peer)
        # last, because it may read whole backing files
        offer = self._readiness.offer(
            *(guest, selection, request.bases, self._mode, request.home),
            xml='' if self._switch else guest.running_xml(),
        )
        return itinerary.Parts(
            guest=guest,
            connect=self._here.connect,
            destination=remote.RemoteDestination(
                self._channel, ledger.record, settings.poll_interval
            ),
            ledger=ledger,
            monitor=self._monitor,
            pace=self._pace,
            home=request.home,
            settings=settings,
            cancelled=self._cancelled,
            offer=offer,
            switch=self._switch
            or switch_over.PeerToPeer(
                guest=guest,
                endpoint=request.destination,
                settings=settings,
            ),
        )

    def _record(self, guest: hypervisor.Guest) -> journal.Record:
        return ledgers.first(
            guest,
            migration=self.id,
            mode=self._mode,
            peer=self._request.peer or self._request.destination.uri,
            home=self._request.home,
            destination=self._request.destination,
            held=self._request.held,
            memo=dict(self._request.memo),
        )

    def _take(self, state: states.State, parts: itinerary.Parts) -> None:
        step = self._steps[state]
        with self._door:
            if self._cancelled.is_set():
                raise exception.Aborted(guest=parts.guest.name)
            self._decided = state not in states.REVERSIBLE
        parts.ledger.note(state, authority=step.authority)
        self._begun.append(step)
        step.execute()

    def _give_up(
        self, parts: itinerary.Parts, error: BaseException
    ) -> NoReturn:
        """Undo the steps that were begun, the last step first."""
        name = parts.guest.name
        aborted = isinstance(error, exception.Aborted)
        (LOG.info if aborted else LOG.warning)(
            'The migration is being undone: %s',
            str(error) or type(error).__name__,
        )
        state = parts.ledger.record.state
        try:
            # before the destination forgets the guest
            ended = obituary.of(
                parts.guest, parts.destination, parts.ledger.record
            )
            steps.take_back(self._begun, parts.ledger)
            how = events.Outcome.ABORTED if aborted else events.Outcome.UNDONE
            self._settle(parts, how, str(error))
        except Exception as e:  # any failure ends the undo
            self._stick(parts, state, e, error)
        if isinstance(error, exception.Refused) and len(self._begun) == 1:
            raise error  # the destination refused; nothing was changed
        if obituary.has_ended(parts.guest):
            raise exception.GuestEnded(
                obituary=ended or f'Guest "{name}" has ended.',
                home=parts.guest.host,
                reason=error,
            ) from error
        raise exception.MigrationUndone(guest=name, reason=error) from error

    def _stick(
        self,
        parts: itinerary.Parts,
        state: states.State,
        error: Exception,
        cause: BaseException,
    ) -> NoReturn:
        reason = f'{cause} Then: {error}'
        try:
            parts.ledger.note(states.State.STUCK, reason)
        except exception.JournalError as e:  # the journal itself may fail
            LOG.error('%s', e)
        self._monitor.end(events.Outcome.STUCK, reason)
        raise exception.MigrationStuck(
            guest=parts.guest.name,
            state=state,
            reason=reason,
            path=parts.ledger.path,
        ) from cause

    def _settle(
        self, parts: itinerary.Parts, how: events.Outcome, reason: str = ''
    ) -> None:
        ledger = parts.ledger
        if not ledger.record.held:
            ledger.close()
            self._monitor.watch(states.State.ENDED)
        else:
            if ledger.record.state in states.REVERSIBLE:
                ledger.note(states.State.UNDOING, 'no step was begun')
            aborted = how is events.Outcome.ABORTED
            ledger.note(states.State.SETTLED, aborted=aborted)
        self._monitor.end(how, reason)
