# SPDX-License-Identifier: Apache-2.0
"""One migration: its steps in order, and the way back. Runs on the source.

The source alone decides between pivot and abort, so the two cannot meet.
"""

import dataclasses
import functools
import threading
import time
import uuid
from collections.abc import Callable
from collections.abc import Mapping
from typing import NoReturn
from typing import TypeVar

from oslo_log import log as logging

from nova_blockcopy import conf
from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import forecast
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import reach
from nova_blockcopy.host import switchover
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.source import modes
from nova_blockcopy.migration.source import remote
from nova_blockcopy.migration.source import source
from nova_blockcopy.migration.source import steps
from nova_blockcopy.records import journal

LOG = logging.getLogger(__name__)
T = TypeVar('T')
Listener = Callable[[progress.Progress], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    ``guest`` is a UUID or a name. ``bases`` has, for each disk to move, what
    was created for it beforehand. ``shared`` are disks that the destination
    reaches by itself, and why. ``home`` is how the destination's libvirt
    reaches this host, ``destination`` the other way round. ``peer`` is the
    caller's own name for the destination, for the journal.
    """

    guest: str
    bases: Mapping[str, model.BaseRequest]
    home: model.Endpoint
    destination: model.Endpoint
    peer: str = ''
    shared: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a migration will do; nothing of it is done yet."""

    guest: str
    mode: model.Mode
    moves: tuple[model.Move, ...]
    left_alone: tuple[plan.LeftAlone, ...]


class Migration:
    """Moves one running guest with its disks to another host.

    :param channel: to the destination
    :param listener: told of each progress; must return quickly
    :param switch: carries the guest over in place of libvirt's own
        peer-to-peer migration, for a caller that has its own way
    """

    def __init__(
        self,
        request: Request,
        here: hypervisor.Hypervisor,
        channel: peer.Channel,
        settings: conf.Settings,
        *,
        listener: Listener = lambda _progress: None,
        switch: steps.Switch | None = None,
    ) -> None:
        self.progress = progress.Progress(state=states.State.PREPARING)
        #: Of the time after the switchover; seeded mode makes one.
        self.forecast: forecast.Forecast | None = None
        self._request = request
        self._source = source.Source(here, settings)
        self._channel = channel
        self._settings = settings
        self._listener = listener
        self._switch = switch
        self._door = threading.Lock()
        self._cancelled = threading.Event()
        self._decided = False
        self._bandwidth = settings.copy.bandwidth
        self._set_out(settings.mode)

    def _set_out(self, mode: model.Mode) -> None:
        self.id = str(uuid.uuid4())
        self._mode = mode
        self._meter = progress.Meter(time.monotonic)
        self._context: steps.Context | None = None
        self._ahead = list(modes.all_steps(mode))
        self._begun: list[steps.Step] = []

    def plan(self) -> Plan:
        """Say what would be done, and change nothing.

        :raises Refused: with the reason
        """
        return self._in_some_mode(self._plan)

    def _plan(self) -> Plan:
        context = self._look()
        try:
            moves = steps.ask_destination(context, dry_run=True)
        finally:
            context.destination.discard()
        return Plan(
            guest=context.guest.name,
            mode=self._mode,
            moves=moves,
            left_alone=context.offer.selection.left_alone,
        )

    def run(
        self, through: states.State = states.State.RELEASING
    ) -> journal.Record:
        """Do all steps, up to and with the one of this state.

        A later call goes on where this one stopped.

        :returns: the record as it was when the journal was closed
        :raises Refused: nothing was changed
        :raises HypervisorError: libvirt here does not answer; the same
        :raises JournalError: the journal cannot be read or written; the same
        :raises MigrationUndone: everything was put back
        :raises MigrationStuck: a person has to look
        """
        return self._in_some_mode(functools.partial(self._run, through))

    def _in_some_mode(self, work: Callable[[], T]) -> T:
        """Work in direct mode if the configured one is not possible.

        Nothing has been changed then, or all of it has been put back.
        """
        try:
            return work()
        except exception.BlockCopyError as e:
            reason = _why_not_seeded(e)
            if self._mode is model.Mode.DIRECT or reason is None:
                raise
            LOG.warning(
                'Guest %s cannot be seeded, all of its disks is copied after '
                'the switchover: %s',
                *(self._request.guest, reason),
            )
        self._set_out(model.Mode.DIRECT)
        return work()

    def _run(self, through: states.State) -> journal.Record:
        if self._context is None:
            self._context = self._look()
            self._context.record = self._context.journal.open(
                self._context.record
            )
        context = self._context
        try:
            while self._ahead and (
                not self._begun or self._begun[-1].state is not through
            ):
                self._take(self._ahead.pop(0), context)
        except BaseException as e:  # also of an interrupt, all is put back
            self._give_up(context, e)
        if not self._ahead:
            self._close(context)
        return context.record

    def abort(self) -> bool:
        """Ask for the way back, from any thread.

        :returns: False if the pivot has begun: it is too late
        """
        with self._door:
            if not self._decided:
                self._cancelled.set()
            return not self._decided

    def set_bandwidth(self, mib_per_s: int) -> None:
        """Change the limit for all disks together; 0 lifts it.

        :raises InvalidOption: it is negative or too large
        """
        self._bandwidth = conf.bytes_per_s(mib_per_s)
        if self._context is not None:
            self._context.bandwidth = self._bandwidth
            self._context.destination.set_bandwidth(self._bandwidth)

    def _look(self) -> steps.Context:
        """Read all that a decision needs; change nothing."""
        guest = self._source.guest(self._request.guest)
        selection = self._source.select(
            guest, self._request.bases, self._request.shared
        )
        if self._mode is model.Mode.SEEDED:
            self._source.check_room()
        definition = guest.persistent_xml() or ''
        reach.check(
            self._source.host,
            self._request.destination.uri,
            self._settings.call_timeout,
        )
        record = journal.Record(
            migration=self.id,
            guest=guest.uuid,
            name=guest.name,
            role=model.Role.SOURCE,
            mode=self._mode,
            peer=self._request.peer or self._request.destination.uri,
            state=states.State.PREPARING,
            home=self._request.home,
            destination=self._request.destination,
            live_xml=guest.live_xml(),
            persistent_xml=definition,
            definition=definition,
        )
        return steps.Context(
            guest=guest,
            source=self._source,
            destination=remote.RemoteDestination(
                self._channel, record, self._settings.poll_interval
            ),
            home=self._request.home,
            offer=remote.Offer(
                bases=self._request.bases,
                disks=self._source.describe(guest, selection),
                selection=selection,
            ),
            settings=dataclasses.replace(self._settings, mode=self._mode),
            journal=journal.Journal(self._settings.journal_dir),
            record=record,
            watch=self._watch,
            switch=self._switch or functools.partial(self._migrate, guest),
            bandwidth=self._bandwidth,
            cancelled=self._cancelled,
            foresee=self._foresee,
        )

    def _foresee(self, found: forecast.Forecast) -> None:
        self.forecast = found

    def _take(self, step: steps.Step, context: steps.Context) -> None:
        with self._door:
            if self._cancelled.is_set():
                raise exception.Aborted(guest=context.guest.name)
            self._decided = step.state not in states.REVERSIBLE
        context.note(step.state, authority=step.authority)
        self._begun.append(step)
        self._watch(step.state, ())
        LOG.info('Guest %s: %s', context.guest.name, step.state)
        step.execute(context)

    def _migrate(
        self,
        guest: hypervisor.Guest,
        live_xml: str,
        persistent_xml: str,
        cancelled: threading.Event,
    ) -> None:
        context = self._context
        assert context is not None  # noqa: S101 - for the type checker
        disks = domxml.disks(live_xml)
        switchover.run(
            guest,
            self._request.destination,
            live_xml=live_xml,
            persistent_xml=persistent_xml,
            unsafe=source.needs_unsafe(disks, context.record.moves),
            cancelled=cancelled,
            settings=self._settings,
        )

    def _give_up(
        self, context: steps.Context, error: BaseException
    ) -> NoReturn:
        """Undo the steps that were begun, the last one first."""
        name = context.guest.name
        LOG.warning('Guest %s: %s', name, error)
        state = context.record.state
        try:
            # before the destination forgets the guest
            obituary = context.obituary() or f'Guest "{name}" has ended.'
            steps.take_back(context, self._begun)
            self._close(context)
        except Exception as e:  # whatever it is, nobody may go on from here
            self._stick(context, state, e, error)
        if isinstance(error, exception.Refused) and len(self._begun) == 1:
            raise error  # the destination refused; nothing had been changed
        if _has_ended(context.guest):
            raise exception.GuestEnded(
                obituary=obituary, home=self._source.host, reason=error
            ) from error
        raise exception.MigrationUndone(guest=name, reason=error) from error

    def _stick(
        self,
        context: steps.Context,
        state: states.State,
        error: Exception,
        cause: BaseException,
    ) -> NoReturn:
        try:
            context.note(states.State.STUCK, f'{cause} Then: {error}')
        except exception.JournalError as e:  # maybe it is what failed
            LOG.error('%s', e)
        self._watch(states.State.STUCK, ())
        raise exception.MigrationStuck(
            guest=context.guest.name,
            state=state,
            reason=f'{cause} Then: {error}',
            path=context.journal.path(context.guest.uuid),
        ) from cause

    def _close(self, context: steps.Context) -> None:
        context.journal.close(context.guest.uuid)
        self._watch(states.State.ENDED, ())

    def _watch(
        self, state: states.State, disks: tuple[model.DiskProgress, ...]
    ) -> None:
        self.progress = self._meter.read(state, disks)
        try:
            self._listener(self.progress)
        except Exception:  # telling of it must not decide how it goes
            LOG.exception('The listener failed in state %s', state)


def _has_ended(guest: hypervisor.Guest) -> bool:
    """Whether a guest is off; a libvirt that is silent does not tell."""
    try:
        return guest.power() is hypervisor.Power.OFF
    except exception.HypervisorError:
        return False


def _why_not_seeded(error: exception.BlockCopyError) -> BaseException | None:
    """What makes seeding impossible; room that runs out later does not."""
    if isinstance(error, exception.NoRoom):
        return error
    if isinstance(error.__cause__, exception.CannotFreeze):
        return error.__cause__
    return None
