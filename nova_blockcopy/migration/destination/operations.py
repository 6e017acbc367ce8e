# SPDX-License-Identifier: Apache-2.0
"""The operations that a source can order on the destination.

Each method answers at once. An operation that takes time runs as a task; the
source asks for ``status`` until the task has ended. The journal has all that
must survive this process.
"""

import threading
from typing import Any

from nova_blockcopy import appraisal
from nova_blockcopy import events
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import needs
from nova_blockcopy import states
from nova_blockcopy import wire
from nova_blockcopy.host import checksums
from nova_blockcopy.host import firmware
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import qemu_log
from nova_blockcopy.migration import monitor
from nova_blockcopy.migration import peer
from nova_blockcopy.migration import status
from nova_blockcopy.migration.destination import base_set
from nova_blockcopy.migration.destination import claims
from nova_blockcopy.migration.destination import copying
from nova_blockcopy.migration.destination import homecoming
from nova_blockcopy.migration.destination import host as hosts
from nova_blockcopy.migration.destination import preparation
from nova_blockcopy.migration.destination import survey
from nova_blockcopy.migration.destination import totals
from nova_blockcopy.migration.destination import way_back
from nova_blockcopy.migration.destination import worker
from nova_blockcopy.records import journal

#: An earlier process may have pivoted disks in these states, without a note.
_UNSURE = (states.State.PIVOTING, states.State.UNDOING, states.State.STUCK)


class Operations:
    """The operations of one migration. Runs on the destination.

    Each public method is an operation. The arguments are the values of the
    message.

    :param guest: UUID
    :param migration: the migration's id
    """

    def __init__(self, host: hosts.Host, guest: str, migration: str) -> None:
        self._host = host
        self._page = journal.Page(host.journal, guest, migration)
        self._monitor = monitor.reporting(host.settings, host.observers)
        self._page.told = self._monitor.enter
        self._bases = base_set.BaseSet(host.settings, guest, migration)
        self._worker = worker.Worker(guest, host.settings.journal_dir)
        self._copying: copying.Copying | None = None
        self._figures: tuple[model.DiskProgress, ...] = ()
        #: Keeps a task from opening the journal after a discard.
        self._door = threading.Lock()

    def prepare(
        self,
        *,
        name: str,
        peer: str,
        boot: str,
        home: model.Endpoint,
        rehearsal: model.Rehearsal | None,
        xml: wire.Text,
        disks: tuple[model.SourceDisk, ...],
        bases: dict[str, model.BaseRequest],
        left_alone: dict[str, str],
        tls: bool,
        mode: model.Mode,
        dry_run: bool,
    ) -> peer.Message:
        """Check the host, the disks and the bases, then begin the journal.

        A dry run only checks. The result of the task is the list of moves.
        """
        wanted = preparation.Wanted(
            name=name,
            peer=peer,
            boot=boot,
            home=home,
            rehearsal=rehearsal,
            needs=needs.of(xml) if xml else None,
            mode=mode,
            disks=disks,
            bases=bases,
            left_alone=left_alone,
            tls=tls,
        )

        def prepare(cancelled: threading.Event) -> Any:
            moves = preparation.check(
                self._host, self._page.guest, self._bases, wanted
            )
            if not dry_run:
                self._open(wanted, moves, cancelled)
            return wire.pack(moves)

        return self._worker.begin('prepare', prepare, alone=not dry_run)

    def appraise(self, *, question: appraisal.Question) -> peer.Message:
        """Look at the host before there are bases, and change nothing."""
        looking = survey.Survey(self._host, self._page.guest, question)
        return self._worker.begin(
            *('appraise', lambda _cancelled: wire.pack(looking.look())),
            alone=False,
        )

    def received(self) -> peer.Message:
        """Tell the extents of each base that an earlier attempt has filled."""
        found = self._bases.received(self._page.record.moves)
        return {'extents': wire.pack(found)}

    def seed(
        self, *, seeds: tuple[model.Seed, ...], bandwidth: int
    ) -> peer.Message:
        """Copy images from exports into the bases, before the switchover.

        :param bandwidth: bytes/s for all disks together; 0 = no limit
        """
        self._monitor.limit = bandwidth
        record = self._page.note(states.State.SEEDING)

        told = self._watch, self._monitor.retry
        return self._worker.begin(
            'seed',
            lambda cancelled: self._bases.fill(
                *(record, seeds, bandwidth, cancelled), *told
            ),
        )

    def digest(
        self, *, seed: model.Seed, wanted: tuple[model.Extent, ...]
    ) -> peer.Message:
        """Compute checksums of extents of an image that was seeded."""
        of = self._bases.landed(self._page.record, seed)
        claims.check_parts(wanted)
        return self._worker.begin(
            'digest',
            lambda cancelled: checksums.of(
                of.target,
                wanted,
                cancelled,
                by_content=of.by_content,
                timeout=self._host.settings.stall_timeout,
            ),
        )

    def apply(self, *, seeds: tuple[model.Seed, ...]) -> peer.Message:
        """Complete the bases after a round of seeding."""
        record = self._page.record
        return self._worker.begin(
            'apply', lambda _cancelled: self._bases.apply(record, seeds)
        )

    def copy(
        self,
        *,
        persistent_xml: wire.Text,
        bandwidth: int,
        synchronous_writes: bool,
        guest_bandwidth: int,
    ) -> peer.Message:
        """Start all copies, and follow them until they are ready.

        :param bandwidth: bytes/s for all copies together; 0 = no limit
        :param synchronous_writes: have each guest write wait for the base
        :param guest_bandwidth: bytes/s that the guest may write to all disks
            together meanwhile; 0 = no limit
        """
        self._monitor.limit = bandwidth
        self._copying = copies = copying.Copying(
            self._host,
            self._page,
            bandwidth,
            synchronous_writes=synchronous_writes,
        )
        self._page.note(states.State.COPYING, persistent_xml=persistent_xml)

        def copy(cancelled: threading.Event) -> None:
            # an export that died has stopped it, and runs again
            copies.pauses.wake(self._host.settings.call_timeout)
            copies.slow_down(guest_bandwidth)
            copies.run(cancelled, self._watch)
            self._page.note(states.State.READY)

        return self._worker.begin('copy', copy)

    def set_bandwidth(self, *, bandwidth: int) -> peer.Message:
        """Change the limit of all copies; bytes/s, 0 lifts the limit."""
        self._monitor.limit = bandwidth
        self._bases.set_limit(bandwidth)
        if self._copying is not None:
            self._copying.group.set_limit(bandwidth)
        return {}

    def pivot(self, *, without_source: bool, again: bool) -> peer.Message:
        """Pivot all disks, then prove both definitions of the guest.

        :param without_source: the exports are gone for good, so pivot only if
            each base has all writes of the guest
        :param again: an earlier order has failed, and all exports run now
        """
        if self._page.record.authority is model.Role.DESTINATION:
            return self._worker.begin('pivot', lambda _cancelled: None)
        self._page.note(states.State.PIVOTING)

        def pivot(cancelled: threading.Event) -> None:
            copies = self._copying or copying.Copying(self._host, self._page)
            self._copying = copies
            homecoming.come_home(
                *(copies, self._page, cancelled, self._watch),
                without_source=without_source,
                again=again,
            )

        return self._worker.begin('pivot', pivot)

    def abort(self) -> peer.Message:
        """End the running task and all copies; the guest stays here."""

        def abort(_cancelled: threading.Event) -> None:
            record = self._page.find()
            if record is None:
                return
            self._page.note(states.State.UNDOING, 'aborting')
            guest = self._host.here.find(self._page.guest)
            if guest and guest.power() is not hypervisor.Power.OFF:
                copying.Copying(self._host, self._page).group.abort()
                copying.speed_up(guest, self._page)
            elif guest:
                way_back.check_remote(guest, record.moves)

        return self._worker.abort(abort, self._host.settings.call_timeout)

    def give_back(
        self,
        *,
        boot: str,
        endpoint: model.Endpoint,
        live_xml: wire.Text,
        persistent_xml: wire.Text,
    ) -> peer.Message:
        """Migrate the guest back to the disks on the source.

        :param boot: the present boot id of the source
        :param endpoint: where this host's libvirt reaches the source
        :raises Untrusted: this host may not send a guest there
        :raises PeerError: the source was rebooted
        """
        self._host.trust.check_home(endpoint)
        if self._page.record.boot not in ('', boot):
            raise exception.PeerError(
                operation='give the guest back',
                reason='the source was rebooted meanwhile, so its disks may '
                'lack writes of the guest.',
            )
        record = self._page.note(states.State.UNDOING, 'giving the guest back')

        def give_back(cancelled: threading.Event) -> None:
            guest = self._host.here.guest(self._page.guest)
            way_back.give_back(
                guest,
                copying.pauses_of(guest, self._page),
                record.moves,
                endpoint,
                live_xml=live_xml,
                persistent_xml=persistent_xml,
                cancelled=cancelled,
                settings=self._host.settings,
            )

        return self._worker.begin('give_back', give_back)

    def status(self) -> peer.Message:
        """Tell the state of the migration, and of the last task."""
        # read before the record: the record then has the results of a task
        # that is done
        work = self._worker.status()
        record = self._page.find()
        guest = self._host.here.find(self._page.guest)
        if guest and record and work.done and record.state in _UNSURE:
            homecoming.note_pivoted(guest, self._page)
            record = self._page.find()
        found = status.Status(
            state=record.state if record else None,
            pivoted=record.pivoted if record else (),
            power=guest.power() if guest else hypervisor.Power.OFF,
            disks=self._figures,
            task=work,
        )
        answer: peer.Message = wire.pack(found)
        return answer

    def qemu_log(self) -> peer.Message:
        """Tell the last lines of the guest's QEMU log on this host."""
        return {'log': qemu_log.tail(self._page.record.name)}

    def firmware(self) -> peer.Message:
        """Tell the state of the firmware of a guest that ended here."""
        guest = self._host.here.find(self._page.guest)
        if guest is None or guest.power() is not hypervisor.Power.OFF:
            return {'files': {}}
        xml = guest.persistent_xml() or ''
        return {'files': firmware.read(guest.uuid, xml)}

    def discard(self, *, keep: bool = False) -> peer.Message:
        """Forget a guest that did not come. The bases stay as they are.

        :param keep: leave the journal open, in state SETTLED
        :raises TooLate: some disk uses the base already
        """
        with self._door:
            self._worker.cancel()
            record = self._page.find()
            if record is not None and record.pivoted:
                raise exception.TooLate(
                    reason=f'the guest uses the base for disk '
                    f'{", ".join(record.pivoted)} already.'
                )
            if record is not None:
                self._forget(record)
                self._leave(events.Outcome.UNDONE, keep=keep)
        return {}

    def finish(self, *, keep: bool = False) -> peer.Message:
        """Close the journal of a guest that uses the bases.

        :param keep: leave the journal open, in state SETTLED
        :raises InvalidTransition: the guest does not use the bases yet
        """
        record = self._page.find()
        if record is None:
            return {}
        states.check(record.state, states.State.ENDED)
        found = totals.of(self._host, record, self._copying)
        self._monitor.allocated_after = found.allocated
        self._monitor.longest_stop_s = found.longest_stop_s
        self._bases.forget()
        self._leave(events.Outcome.COMPLETED, keep=keep)
        return {'totals': wire.pack(found)}

    def _forget(self, record: journal.Record) -> None:
        if record.state is states.State.SETTLED:
            return
        self._page.note(states.State.UNDOING, 'forgetting the guest')
        guest = self._host.here.find(self._page.guest)
        way_back.forget_dead(guest, record.moves)
        self._bases.clear(record.moves)

    def _leave(self, how: events.Outcome, *, keep: bool) -> None:
        if keep:
            self._page.note(states.State.SETTLED)
        else:
            self._page.close()
        self._monitor.end(how)

    def _open(
        self,
        wanted: preparation.Wanted,
        moves: tuple[model.Move, ...],
        cancelled: threading.Event,
    ) -> None:
        with self._door:
            if cancelled.is_set():
                raise exception.Aborted(guest=wanted.name)
            self._page.open(preparation.first(self._page, wanted, moves))

    def _watch(
        self, state: states.State, disks: tuple[model.DiskProgress, ...]
    ) -> None:
        self._figures = disks
        self._monitor.watch(state, disks)


def is_over(operations: Operations) -> bool:
    """Whether a migration has neither a journal here nor a task that runs."""
    if not operations._worker.status().done:
        return False
    try:
        return operations._page.find() is None
    except exception.JournalError:  # which an operator will look at
        return False
