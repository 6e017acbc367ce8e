# SPDX-License-Identifier: Apache-2.0
"""One guest on its way to this host: bases, copies, pivot, or its return.

Each method answers at once; what takes time runs as a task, whose end the
source reads from ``status``. What must survive this process is in the
journal.
"""

import dataclasses
import functools
import os
import threading
from collections.abc import Callable
from typing import Any

from oslo_log import log as logging

from nova_blockcopy import bandwidth as bandwidths
from nova_blockcopy import conf
from nova_blockcopy import domxml
from nova_blockcopy import drivers
from nova_blockcopy import exception
from nova_blockcopy import mirror
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy import wire
from nova_blockcopy.copies import group as copygroup
from nova_blockcopy.copies import job as copyjob
from nova_blockcopy.host import checksums
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import images
from nova_blockcopy.host import qemu_log
from nova_blockcopy.host import switchover
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.destination import base_set
from nova_blockcopy.records import journal
from nova_blockcopy.runtime import task
from nova_blockcopy.runtime import waiting

LOG = logging.getLogger(__name__)

_GIVE_BACK_ATTEMPTS = 5
#: Tasks that the source orders again when it got no answer.
_INSISTED = ('pivot',)
#: Seconds in which a guest that was resumed meets its next I/O error.
_WAKE_INTERVAL = 0.5
#: By an I/O error, or by a pivot that was cut short.
_STOPPED = (hypervisor.Power.IO_ERROR, hypervisor.Power.PAUSED)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What an arrival needs of the host it comes to."""

    here: hypervisor.Hypervisor
    settings: conf.Settings
    journal: journal.Journal


class Operations:
    """One guest, in one migration. Runs on the destination.

    :param guest: UUID
    :param migration: its id; a record of another one is none of ours
    """

    def __init__(self, host: Host, guest: str, migration: str) -> None:
        self._host = host
        self._guest = guest
        self._migration = migration
        self._task: task.Task | None = None
        self._group: copygroup.CopyGroup | None = None
        self._progress: progress.Progress | None = None
        self._bases = base_set.BaseSet(host.settings, guest, migration)
        #: Keeps a check that is discarded from beginning a journal after it.
        self._door = threading.Lock()

    # -- what the source can ask for -------------------------------------

    def prepare(
        self,
        *,
        name: str,
        peer: str,
        disks: list[Any],
        bases: dict[str, Any],
        left_alone: dict[str, str],
        tls: bool,
        mode: str,
        dry_run: bool,
    ) -> peer.Message:
        """Check all there is to check; then, if wanted, begin the journal.

        The task's result are the moves.
        """

        def check(cancelled: threading.Event) -> Any:
            self._check_host(name)
            plan.check_same_encryption(
                *(self._host.here.host, self._host.settings.export_tls),
                *(peer, tls),
            )
            self._check_left_alone(name, left_alone)
            if mode == model.Mode.SEEDED:
                self._bases.check(self._host.here.host)
            moves = self._pair(
                wire.unpack(disks, tuple[model.SourceDisk, ...]),
                wire.unpack(bases, dict[str, model.BaseRequest]),
                seeded=mode == model.Mode.SEEDED,
            )
            record = journal.Record(
                migration=self._migration,
                guest=self._guest,
                name=name,
                role=model.Role.DESTINATION,
                mode=model.Mode(mode),
                peer=peer,
                state=states.State.PREPARING,
                moves=moves,
            )
            if not dry_run:
                with self._door:
                    if cancelled.is_set():
                        raise exception.Aborted(guest=name)
                    self._host.journal.open(record)
            return wire.pack(moves)

        return self._begin('prepare', check)

    def received(self) -> peer.Message:
        """Tell where an earlier attempt has filled the bases."""
        return {
            'extents': wire.pack(self._bases.received(self._record().moves))
        }

    def seed(self, *, seeds: list[Any], bandwidth: int) -> peer.Message:
        """Copy images from their exports, before the guest comes.

        :param bandwidth: bytes/s for all of them; 0 = no limit
        """
        record = self._record()
        wanted = wire.unpack(seeds, tuple[model.Seed, ...])
        self._note(states.State.SEEDING)

        def seed(cancelled: threading.Event) -> None:
            self._bases.fill(
                record.name,
                wanted,
                {move.disk: move.size_bytes for move in record.moves},
                bandwidth,
                cancelled,
                self._report,
            )

        return self._begin('seed', seed)

    def digest(
        self, *, seed: dict[str, Any], wanted: list[Any]
    ) -> peer.Message:
        """Take checksums of parts of an image that was received."""
        of = self._bases.landed(wire.unpack(seed, model.Seed))
        parts = wire.unpack(wanted, tuple[model.Extent, ...])
        return self._begin(
            'digest',
            lambda cancelled: checksums.of(
                of.target,
                parts,
                cancelled,
                by_content=of.by_content,
                timeout=self._host.settings.stall_timeout,
            ),
        )

    def apply(self, *, seeds: list[Any]) -> peer.Message:
        """Have the bases take in what was seeded."""
        wanted = wire.unpack(seeds, tuple[model.Seed, ...])
        return self._begin(
            'apply', lambda _cancelled: self._bases.apply(wanted)
        )

    def copy(
        self,
        *,
        persistent_xml: str,
        bandwidth: int,
        synchronous_writes: bool,
        guest_bandwidth: int,
    ) -> peer.Message:
        """Start all copies, and follow them until they are ready.

        :param bandwidth: bytes/s for all of them; 0 = no limit
        :param synchronous_writes: have them get ready however much the
            guest writes
        :param guest_bandwidth: bytes/s that the guest may write to all disks
            together meanwhile; 0 = no limit
        """
        self._group = group = self._copies(
            bandwidth, synchronous_writes=synchronous_writes
        )
        self._note(states.State.COPYING, persistent_xml=persistent_xml)

        def copy(cancelled: threading.Event) -> None:
            guest = self._host.here.guest(self._guest)
            self._slow_down(guest, guest_bandwidth)
            self._start(guest, group)
            group.follow(cancelled, self._report)
            self._note(states.State.READY)

        return self._begin('copy', copy)

    def set_bandwidth(self, *, bandwidth: int) -> peer.Message:
        """Change the limit of all copies; bytes/s, 0 lifts it."""
        self._bases.set_limit(bandwidth)
        if self._group is not None:
            self._group.set_limit(bandwidth)
        return {}

    def pivot(self) -> peer.Message:
        """Pivot all disks, then prove it in both definitions."""
        if self._record().authority is model.Role.DESTINATION:
            return self._begin('pivot', lambda _cancelled: None)
        self._note(states.State.PIVOTING)
        return self._begin('pivot', self._pivot)

    def abort(self) -> peer.Message:
        """End all that is under way; a guest stays on the exports."""
        before, self._task = self._task, None
        if before is not None:
            before.cancel()

        def abort(_cancelled: threading.Event) -> None:
            self._wait_for(before)
            if self._find() is None:
                return
            self._note(states.State.UNDOING, 'aborting')
            guest = self._host.here.find(self._guest)
            if guest and guest.power() is not hypervisor.Power.OFF:
                self._copies().abort()
                self._speed_up(guest)
            elif guest:
                self._check_remote(guest)

        return self._begin('abort', abort)

    def give_back(
        self, *, endpoint: dict[str, Any], live_xml: str, persistent_xml: str
    ) -> peer.Message:
        """Return the guest to its source, onto the disks that it has there.

        :param endpoint: the source's, as this host's libvirt reaches it
        """
        home = wire.unpack(endpoint, model.Endpoint)
        self._note(states.State.UNDOING, 'giving it back')

        def give_back(cancelled: threading.Event) -> None:
            guest = self._host.here.guest(self._guest)
            self._check_remote(guest)
            self._wake(guest)
            switchover.run(
                guest,
                home,
                live_xml=live_xml,
                persistent_xml=persistent_xml,
                unsafe=True,
                cancelled=cancelled,
                settings=self._host.settings,
            )

        # a guest may meet a dead export only at a switchover
        again = waiting.retrying(
            exception.SwitchoverError, _GIVE_BACK_ATTEMPTS, _WAKE_INTERVAL
        )
        return self._begin('give_back', functools.partial(again, give_back))

    def status(self) -> peer.Message:
        """Tell how far it is, and how the last task went."""
        # before the record: what is done by now is in the record by then
        work = self._task
        done = work is None or work.done
        record = self._find()
        guest = self._host.here.find(self._guest)
        return {
            'state': None if record is None else record.state,
            'pivoted': [] if record is None else list(record.pivoted),
            'power': guest.power() if guest else hypervisor.Power.OFF,
            'task': work.name if work else None,
            'done': done,
            'result': work.result if work and done else None,
            'failure': peer.failure(work.failure) if work else None,
            'disks': wire.pack(self._progress.disks) if self._progress else [],
        }

    def qemu_log(self) -> peer.Message:
        """Tell how the log of the guest's QEMU on this host ends."""
        return {'log': qemu_log.tail(self._record().name)}

    def discard(self) -> peer.Message:
        """Forget a guest that did not come; its bases stay as they are.

        :raises TooLate: some disk lives on its base here
        """
        with self._door:
            if self._task is not None:
                self._task.cancel()
            record = self._find()
            if record is not None and record.pivoted:
                raise exception.TooLate(
                    reason=f'{", ".join(record.pivoted)} is at home here.'
                )
            if record is not None:
                self._note(states.State.UNDOING, 'forgetting it')
                self._forget_dead()
                self._bases.clear(record.moves)
                self._host.journal.close(self._guest)
        return {}

    def finish(self) -> peer.Message:
        """Forget a guest that is at home here.

        :raises InvalidTransition: it is not, yet
        """
        record = self._find()
        if record is not None:
            states.check(record.state, states.State.ENDED)
            self._bases.forget()
            self._host.journal.close(self._guest)
        return {}

    # -- preparing -------------------------------------------------------

    def _check_host(self, name: str) -> None:
        here = self._host.here
        plan.check_versions(here.host, here.versions())
        drivers.load(self._host.settings, here.connect)
        for wanted in (self._guest, name):
            if here.find(wanted) is not None:
                raise exception.GuestExists(guest=name, host=here.host)

    def _check_left_alone(self, name: str, paths: dict[str, str]) -> None:
        for disk, path in paths.items():
            if not os.path.exists(path):
                raise exception.DiskRefused(
                    guest=name,
                    disk=disk,
                    reason=f'it is to be left alone, but {path} does not '
                    f'exist on {self._host.here.host}; copy it there first.',
                )

    def _pair(
        self,
        disks: tuple[model.SourceDisk, ...],
        bases: dict[str, model.BaseRequest],
        *,
        seeded: bool,
    ) -> tuple[model.Move, ...]:
        facts = {
            disk.disk: self._base_facts(disk, bases[disk.disk], seeded=seeded)
            for disk in disks
        }
        plan.check_unique(facts)
        return tuple(
            plan.move(disk, facts[disk.disk], whole=bases[disk.disk].whole)
            for disk in disks
        )

    def _base_facts(
        self,
        disk: model.SourceDisk,
        request: model.BaseRequest,
        *,
        seeded: bool,
    ) -> plan.BaseFacts:
        try:
            image, size = self._bases.describe(
                disk.disk,
                request.path,
                request.format or disk.image.format,
                # what is copied in another way needs a header to be there
                by_book=seeded and not request.whole,
            )
            return plan.BaseFacts(
                image=image,
                size_bytes=size,
                identity=images.identity(image.path),
                holders=images.holders(image.path),
                backing_digest=images.digest(image.backing)
                if disk.backing_digest
                else None,
            )
        except exception.ImageError as e:
            raise exception.BaseRefused(
                path=request.path, disk=disk.disk, reason=e
            ) from e

    # -- copying and pivoting --------------------------------------------

    def _copies(
        self, bandwidth: int = 0, *, synchronous_writes: bool = False
    ) -> copygroup.CopyGroup:
        record = self._record()
        guest = self._host.here.guest(self._guest)
        driver = drivers.load(self._host.settings, self._host.here.connect)
        jobs = [
            copyjob.CopyJob(
                *(driver, guest, move, record.mode),
                functools.partial(self._limits, move.base),
            )
            for move in record.moves
        ]
        settings = dataclasses.replace(
            self._host.settings, synchronous_writes=synchronous_writes
        )
        return copygroup.CopyGroup(guest.name, jobs, settings, bandwidth)

    def _start(
        self, guest: hypervisor.Guest, group: copygroup.CopyGroup
    ) -> None:
        if not mirror.misses_first_writes(self._hypervisor()):
            group.start()
            return
        with guest.standing_still():
            group.start()
            group.wait_for_begin()

    def _hypervisor(self) -> int:
        return self._host.here.versions().hypervisor

    def _limits(self, base: model.Image) -> mirror.Limits:
        return mirror.limits(
            base,
            alignment=images.alignment(base.path),
            cluster=images.cluster(base),
            hypervisor=self._hypervisor(),
        )

    def _slow_down(self, guest: hypervisor.Guest, bytes_per_s: int) -> None:
        """Have the guest write less than is copied.

        :param bytes_per_s: for all disks together; 0 does nothing
        """
        if not bytes_per_s:
            return
        record = self._record()
        before = record.limits or {
            move.disk: guest.limits(move.disk) for move in record.moves
        }
        self._note(record.state, 'the guest is slowed down', limits=before)
        share = bytes_per_s // len(record.moves)
        for move in record.moves:
            unit = self._limits(move.base).granularity
            limits = bandwidths.slowed(before[move.disk], share, unit)
            guest.limit(move.disk, limits)

    def _speed_up(self, guest: hypervisor.Guest) -> None:
        """Give back the limits that the guest's disks had."""
        record = self._record()
        if not record.limits or guest.power() is hypervisor.Power.OFF:
            return
        for disk, limits in record.limits.items():
            guest.limit(disk, limits)
        self._note(record.state, 'the guest is not slowed down', limits={})

    def _pivot(self, cancelled: threading.Event) -> None:
        group = self._group or self._copies()
        guest = self._host.here.guest(self._guest)
        try:
            with guest.standing_still():
                group.pivot(self._pivoted)
        except (exception.JobFailed, exception.NotReady) as e:
            if not self._record().pivoted:
                raise
            # no way back for the disks that have pivoted, so the others
            # follow: the source serves them until the release
            LOG.warning('Copying again what did not pivot: %s', e)
            self._start(guest, group)
            group.follow(cancelled, self._report)
            with guest.standing_still():
                group.pivot(self._pivoted)
        guest.wake()  # if that was cut short the last time
        self._speed_up(guest)
        self._settle_definition()
        self._note(
            states.State.RELEASING,
            'all disks are proven to be on this host',
            authority=model.Role.DESTINATION,
        )

    def _pivoted(self, disk: str) -> None:
        self._note(
            states.State.PIVOTING,
            f'{disk} is on this host',
            pivoted=(*self._record().pivoted, disk),
        )

    def _settle_definition(self) -> None:
        """Make the persistent definition name the bases, and prove it.

        libvirt does so itself at a pivot, but only where the persistent
        source equals the live one, and does not tell whether it did
        (qemuBlockJobRewriteConfigDiskSource, src/qemu/qemu_blockjob.c).
        """
        record = self._record()
        guest = self._host.here.find(self._guest)
        present = guest.persistent_xml() if guest else None
        if guest is None or present is None:
            return
        wanted = domxml.point_at_bases(record.persistent_xml, record.moves)
        guest.define(domxml.restore_disks(present, wanted))
        defined = domxml.disks(guest.persistent_xml() or '')
        for move in record.moves:
            if not domxml.at_image(defined[move.disk], move.base):
                raise exception.JobFailed(
                    disk=move.disk,
                    reason=f'the persistent definition does not name '
                    f'{move.base.path}.',
                )

    def _check_remote(self, guest: hypervisor.Guest) -> None:
        """Pass if every moved disk is still read from its source.

        Else the source's disks are old, and must not be run from again.
        """
        disks = domxml.disks(guest.running_xml())
        for move in self._record().moves:
            if not isinstance(disks[move.disk].source, model.NetworkSource):
                raise exception.TooLate(
                    reason=f'{move.disk} lives on {move.base.path} already.'
                )

    def _wake(self, guest: hypervisor.Guest) -> None:
        """Resume a guest that was stopped, until it stays awake.

        An export that was dead is served again by now, but QEMU finds out
        only by trying, and its first try may fail.
        """

        def awake() -> bool:
            if guest.power() not in _STOPPED:
                return True
            guest.resume()
            return False

        waiting.until(
            awake,
            timeout=self._host.settings.call_timeout,
            interval=_WAKE_INTERVAL,
        )

    def _forget_dead(self) -> None:
        """Undefine a guest that died here; it goes on where it came from."""
        guest = self._host.here.find(self._guest)
        if guest and guest.power() is hypervisor.Power.OFF:
            self._check_remote(guest)
            guest.undefine()

    # -- helpers ---------------------------------------------------------

    def _begin(
        self, name: str, work: Callable[[threading.Event], Any]
    ) -> peer.Message:
        if self._task is not None and not self._task.done:
            if name == self._task.name and name in _INSISTED:
                return {}
            raise exception.PeerError(
                operation=name, reason=f'{self._task.name} still runs.'
            )

        def logged(cancelled: threading.Event) -> Any:
            try:
                return work(cancelled)
            except exception.BlockCopyError as e:
                LOG.warning('Guest %s: %s failed: %s', self._guest, name, e)
                raise

        self._task = task.Task(name, logged)
        return {}

    def _wait_for(self, before: task.Task | None) -> None:
        timeout = self._host.settings.call_timeout
        if before is not None and not before.wait(timeout):
            raise exception.PeerError(
                operation='abort',
                reason=f'{before.name} does not end within {timeout} s.',
            )

    def _find(self) -> journal.Record | None:
        record = self._host.journal.find(self._guest)
        if record is None or record.migration != self._migration:
            return None
        return record

    def _record(self) -> journal.Record:
        record = self._find()
        if record is None:
            raise exception.JournalError(
                path=self._host.journal.path(self._guest),
                reason=f'it has nothing of migration {self._migration}.',
            )
        return record

    def _note(
        self, state: states.State, note: str = '', **changes: Any
    ) -> None:
        self._host.journal.write(self._record(), state, note, **changes)

    def _report(self, now: progress.Progress) -> None:
        self._progress = now
