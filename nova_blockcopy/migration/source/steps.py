# SPDX-License-Identifier: Apache-2.0
"""The steps of a migration, each with its act and its way back.

Runs on the source. A step writes the journal, then acts. An undo does
nothing where the step did nothing, and can be done twice. Unlike in Nova's
conductor tasks a failed undo stops the others: each is what makes the one
after it safe (an export may only close when the guest is back).
"""

import abc
import contextlib
import dataclasses
import threading
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from oslo_log import log as logging

from nova_blockcopy import conf
from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import forecast
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration.source import obituary
from nova_blockcopy.migration.source import remote
from nova_blockcopy.migration.source import source
from nova_blockcopy.records import journal as journals
from nova_blockcopy.runtime import waiting

LOG = logging.getLogger(__name__)

#: How often an order is given, and seconds between.
_ATTEMPTS = 5
_PAUSE = 1.0
_AT_HOME = (hypervisor.Power.RUNNING, hypervisor.Power.PAUSED)
#: Carries the guest over: (live XML, persistent XML, cancelled).
Switch = Callable[[str, str, threading.Event], None]


@dataclasses.dataclass(slots=True, kw_only=True)
class Context:
    """What the steps of one migration share.

    ``home`` is how the destination's libvirt reaches this host,
    ``bandwidth`` is in bytes/s, ``cancelled`` asks for the way back.
    ``guest_bandwidth``, in bytes/s too, is what the guest may write while it
    is copied; 0 = no limit.
    """

    guest: hypervisor.Guest
    source: source.Source
    destination: remote.RemoteDestination
    home: model.Endpoint
    offer: remote.Offer = remote.NOTHING
    settings: conf.Settings
    journal: journals.Journal
    record: journals.Record
    watch: remote.Watch = lambda _state, _disks: None
    switch: Switch
    bandwidth: int
    cancelled: threading.Event = dataclasses.field(
        default_factory=threading.Event
    )
    guest_bandwidth: int = 0
    foresee: Callable[[forecast.Forecast], None] = lambda _forecast: None

    def note(self, state: states.State, note: str = '', **more: Any) -> None:
        """Write the journal; what fails here must not be acted on."""
        self.record = self.journal.write(self.record, state, note, **more)

    def obituary(self) -> str | None:
        """Where the guest has ended, and how; None if it has not."""
        return obituary.of(
            self.guest, self.destination, self.source.host, self.record
        )

    def exports(self) -> dict[str, tuple[model.Export, ...]]:
        """By disk, the top layer's first."""
        return {
            move.disk: tuple(
                export
                for export in self.record.exports
                if export.disk == move.disk
            )
            for move in self.record.moves
        }


class Step(abc.ABC):
    """One act of a migration.

    ``state`` is what the journal says while it is done, ``authority`` whose
    disks are the authoritative copy when it begins.
    """

    state: states.State
    authority = model.Role.SOURCE

    @abc.abstractmethod
    def execute(self, context: Context) -> None: ...

    @abc.abstractmethod
    def undo(self, context: Context) -> None: ...


class PrepareBases(Step):
    """The destination proves its bases, and opens its journal."""

    state = states.State.PREPARING

    def execute(self, context: Context) -> None:
        moves = ask_destination(context, dry_run=False)
        context.note(self.state, 'the bases fit', moves=moves)

    def undo(self, context: Context) -> None:
        context.destination.discard()


class ExportDisks(Step):
    """The source serves its disks; the guest still runs on them."""

    state = states.State.EXPORTING

    def execute(self, context: Context) -> None:
        for move in context.record.moves:
            start_export(
                context, self.state, move.disk, move.top(), writable=True
            )
            below = move.below()
            if below is not None:
                start_export(
                    context, self.state, move.disk, below, content=True
                )

    def undo(self, context: Context) -> None:
        context.source.exporter.stop(context.record.exports)


class SwitchOver(Step):
    """The guest's memory moves; its disks are now read over the network."""

    state = states.State.SWITCHING

    def execute(self, context: Context) -> None:
        record = context.record
        live, persistent = (
            domxml.point_at_exports(xml, record.moves, context.exports())
            if xml
            else ''
            for xml in (record.live_xml, record.persistent_xml)
        )
        for xml in filter(None, (live, persistent)):
            source.check_exported(xml, record.moves, context.exports())
        try:
            context.switch(live, persistent, context.cancelled)
        except exception.SwitchoverError as e:
            # the call may have failed after the guest had moved
            if not self._arrived(context):
                raise
            LOG.warning('The guest is on its destination all the same: %s', e)

    def undo(self, context: Context) -> None:
        self._end_migration(context)
        power = context.guest.power()
        if power in _AT_HOME:
            return
        if context.destination.power() is hypervisor.Power.OFF:
            if power is hypervisor.Power.IO_ERROR:
                return  # it has not left, and goes on when it can write again
            # it ended; its disks here are complete, so it may start here
            context.source.restore_definition(
                context.guest,
                context.record.persistent_xml,
                [move.disk for move in context.record.moves],
            )
            return
        self._revive_exports(context)
        context.destination.give_back(
            context.home,
            context.record.live_xml,
            context.record.persistent_xml,
        )
        if not waiting.until(
            lambda: context.guest.power() in _AT_HOME,
            timeout=context.settings.call_timeout,
        ):
            raise exception.SwitchoverError(
                guest=context.guest.name,
                reason='it was given back, but does not run on its source.',
            )

    @staticmethod
    def _end_migration(context: Context) -> None:
        """End what libvirt may still be at, after a crash of its caller."""

        def ended() -> bool:
            if not context.guest.migrating():
                return True
            with contextlib.suppress(exception.HypervisorError):
                context.guest.abort_migration()
            return False

        if not waiting.until(ended, timeout=context.settings.call_timeout):
            raise exception.SwitchoverError(
                guest=context.guest.name,
                reason='it still goes on, so nothing else can be taken back.',
            )

    @staticmethod
    def _arrived(context: Context) -> bool:
        return (
            context.guest.power() is hypervisor.Power.OFF
            and context.destination.power() in _AT_HOME
        )

    @staticmethod
    def _revive_exports(context: Context) -> None:
        tops = {move.disk: move.top() for move in context.record.moves}

        def revived(export: model.Export) -> model.Export:
            image = tops[export.disk]
            if not export.writable:
                assert image.backing is not None  # noqa: S101 - it was served
                image = image.backing
            return context.source.exporter.revive(export, image)

        context.note(
            context.record.state,
            'exports',
            exports=tuple(map(revived, context.record.exports)),
        )


class CopyDisks(Step):
    """The destination fills its bases until each guest write goes to both."""

    state = states.State.COPYING

    def execute(self, context: Context) -> None:
        context.destination.copy(
            context.record.persistent_xml,
            context.bandwidth,
            context.watch,
            context.cancelled,
            synchronous_writes=context.settings.synchronous_writes,
            guest_bandwidth=context.guest_bandwidth,
        )
        context.note(states.State.READY)
        context.watch(states.State.READY, ())

    def undo(self, context: Context) -> None:
        context.destination.abort()


class PivotDisks(Step):
    """The authoritative copy changes; proven before anything else is done."""

    state = states.State.PIVOTING

    def execute(self, context: Context) -> None:
        insist(context.destination.pivot, context.watch)

    def undo(self, context: Context) -> None:
        pivoted = context.destination.pivoted(context.settings.pivot_timeout)
        if pivoted:
            raise exception.TooLate(
                reason=f'{", ".join(pivoted)} lives on its base already.'
            )


class ReleaseSource(Step):
    """The source gives up what it served; both journals are closed."""

    state = states.State.RELEASING
    authority = model.Role.DESTINATION

    def execute(self, context: Context) -> None:
        ended = context.obituary()
        if ended is not None:
            LOG.error('%s Its disks there are complete; start it.', ended)
        context.source.exporter.stop(context.record.exports)
        context.source.drop(context.record.moves)
        insist(context.destination.finish)

    def undo(self, context: Context) -> None:
        raise exception.TooLate(
            reason='the guest is at home on its destination, with all its '
            'disks.'
        )


def ask_destination(
    context: Context, *, dry_run: bool
) -> tuple[model.Move, ...]:
    """Have the destination pair each disk with its base.

    :raises Refused: with the reason; nothing was changed
    """
    return context.destination.prepare(
        context.offer,
        source=context.source.host,
        tls=context.settings.export_tls,
        mode=context.settings.mode,
        dry_run=dry_run,
        cancelled=context.cancelled,
    )


def start_export(
    context: Context,
    state: states.State,
    disk: str,
    image: model.Image,
    *,
    content: bool = False,
    writable: bool = False,
) -> model.Export:
    """Serve one image of a disk, and write it down before and after.

    :param content: serve what a guest sees of it and all below it
    :param writable: let the destination write to it
    """
    others = context.record.exports
    # by its name an undo finds a server whose start was interrupted
    planned = model.Export(
        disk=disk,
        address='',
        port=0,
        name=source.export_name(context.record.migration, disk),
        size_bytes=0,
        pid=0,
        content=content,
        writable=writable,
    )
    context.note(state, exports=(*others, planned))
    started = context.source.exporter.start(planned, image)
    context.note(state, exports=(*others, started))
    return started


def take_back(context: Context, begun: Iterable[Step]) -> None:
    """Undo steps, the last one first; the first failure ends it."""
    for step in reversed(tuple(begun)):
        if states.can_undo(context.record.state):
            context.note(states.State.UNDOING, f'undo {step.state}')
            context.watch(states.State.UNDOING, ())
        step.undo(context)


def insist(order: Callable[..., None], *arguments: Any) -> None:
    """Give an order again that the destination may have forgotten.

    For those that can be given twice, where the way back is closed or about
    to be: a process that is starting again is waited for.
    """
    again = waiting.retrying(exception.PeerError, _ATTEMPTS, _PAUSE)
    again(order, *arguments)
