# SPDX-License-Identifier: Apache-2.0
"""The client of the channel. Each call waits until the task has ended."""

import dataclasses
import threading
import time
from typing import Any

from nova_blockcopy import appraisal
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy import wire
from nova_blockcopy.host import boot
from nova_blockcopy.host import firmware
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import peer
from nova_blockcopy.migration import status
from nova_blockcopy.migration.source import offer as offers
from nova_blockcopy.records import journal
from nova_blockcopy.runtime import waiting

#: The states of a destination that has proven the pivot of all disks, if some
#: disk has pivoted.
_PROVEN = (states.State.RELEASING, states.State.SETTLED)


#: Seconds without a new figure after which a task counts as hung. Each task
#: has time limits of its own on the destination, and most show figures. The
#: longest one without figures reads all backing files of a guest.
_STILL_S = 6 * 3600.0


class _TimedChannel:
    """A channel that knows since when there has been no answer."""

    def __init__(self, channel: peer.Channel) -> None:
        self._channel = channel
        #: When the first message was sent that has no answer yet.
        self.asked_at: float | None = None

    def call(self, message: peer.Message) -> peer.Message:
        self.asked_at = self.asked_at or time.monotonic()
        answer = self._channel.call(message)
        self.asked_at = None
        return answer


class _Movement:
    """Ends the wait for a task that shows no progress any more."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._disks: tuple[model.DiskProgress, ...] = ()
        self._since = time.monotonic()

    def check(self, now: status.Status) -> None:
        """Pass if the task is done, or may still be at work.

        :raises PeerError: no figure has changed for too long
        """
        if now.disks != self._disks:
            self._disks = now.disks
            self._since = time.monotonic()
        elif not now.task.done and time.monotonic() - self._since > _STILL_S:
            raise exception.PeerError(
                operation=self._operation,
                reason=f'the destination has shown no progress for '
                f'{_STILL_S / 3600:g} hours. Check the destination host.',
            )


class RemoteDestination:
    """The destination of one migration. Runs on the source.

    Each method raises the error of the destination, or ``PeerError`` if the
    destination does not answer, was restarted, or shows no progress for hours.
    A method that takes ``cancelled`` raises ``Aborted`` when that event is
    set.

    :param record: a record of the migration
    :param interval: seconds between two questions for the status, at most
    """

    def __init__(
        self, channel: peer.Channel, record: journal.Record, interval: float
    ) -> None:
        self._channel = _TimedChannel(channel)
        self.guest = record.name
        self._guest = record.guest
        self._migration = record.migration
        self._held = record.held
        self._interval = interval

    def prepare(
        self,
        offer: offers.Offer,
        port: model.Rehearsal | None = None,
        *,
        dry_run: bool,
        cancelled: threading.Event,
    ) -> tuple[model.Move, ...]:
        """Have the destination check the bases and begin a journal.

        :param port: a port that the destination is to connect to
        :param dry_run: only check
        :raises Refused: a base does not fit; nothing was changed
        """
        answer = self._run(
            'prepare',
            cancelled,
            name=self.guest,
            peer=offer.source,
            boot=offer.boot,
            home=wire.pack(offer.home),
            rehearsal=wire.pack(port),
            xml=offer.xml,
            disks=wire.pack(offer.disks),
            bases=wire.pack(dict(offer.bases)),
            left_alone={
                left.disk: left.path
                for left in offer.selection.left_alone
                if left.path is not None
            },
            tls=offer.tls,
            mode=offer.mode,
            dry_run=dry_run,
        )
        with peer.understood('prepare'):
            moves = wire.unpack(answer, tuple[model.Move, ...])
        offers.check_answer(offer, moves)
        return moves

    def appraise(
        self, question: appraisal.Question, cancelled: threading.Event
    ) -> appraisal.Side:
        """Have the destination look whether a guest could come."""
        answer = self._run('appraise', cancelled, question=wire.pack(question))
        with peer.understood('appraise'):
            return wire.unpack(answer, appraisal.Side)

    def received(self) -> dict[str, tuple[model.Extent, ...]]:
        """The extents of each base that an earlier attempt has filled."""
        with peer.understood('received'):
            return wire.unpack(
                self._ask('received')['extents'],
                dict[str, tuple[model.Extent, ...]],
            )

    def seed(
        self,
        seeds: tuple[model.Seed, ...],
        bandwidth: int,
        watch: progress.Watch,
        cancelled: threading.Event,
    ) -> None:
        """Have the destination copy images from exports into the bases.

        :param bandwidth: bytes/s for all disks together; 0 = no limit
        """
        self._run(
            'seed',
            cancelled,
            watch,
            seeds=wire.pack(seeds),
            bandwidth=bandwidth,
        )

    def digest(
        self,
        seed: model.Seed,
        wanted: tuple[model.Extent, ...],
        cancelled: threading.Event,
    ) -> list[str]:
        """Return the destination's checksums of parts of a seeded image."""
        answer = self._run(
            'digest', cancelled, seed=_brief(seed), wanted=wire.pack(wanted)
        )
        with peer.understood('digest'):
            found = wire.unpack(answer, list[str])
            if len(found) != len(wanted):
                raise ValueError(
                    f'{len(found)} checksums instead of {len(wanted)}'
                )
        return found

    def apply(
        self, seeds: tuple[model.Seed, ...], cancelled: threading.Event
    ) -> None:
        """Have the destination complete the bases after a round."""
        self._run('apply', cancelled, seeds=[_brief(seed) for seed in seeds])

    def copy(
        self,
        persistent_xml: str,
        bandwidth: int,
        watch: progress.Watch,
        cancelled: threading.Event,
        *,
        synchronous_writes: bool,
        guest_bandwidth: int,
    ) -> None:
        """Have the destination copy all disks until all copies mirror.

        :param bandwidth: bytes/s for all disks together; 0 = no limit
        :param synchronous_writes: have each guest write wait for the base
        :param guest_bandwidth: bytes/s that the guest may write to all disks
            together; 0 = no limit
        """
        self._run(
            'copy',
            cancelled,
            watch,
            persistent_xml=persistent_xml,
            bandwidth=bandwidth,
            synchronous_writes=synchronous_writes,
            guest_bandwidth=guest_bandwidth,
        )

    def set_bandwidth(self, bytes_per_s: int) -> None:
        """Change the limit for all disks together; 0 lifts the limit."""
        self._ask('set_bandwidth', bandwidth=bytes_per_s)

    def pivot(self, watch: progress.Watch, *, again: bool = False) -> None:
        """Have the destination pivot all disks, and prove the pivots.

        A pivot cannot be cancelled.

        :param again: an earlier order has failed, and all exports run now
        """
        self._run(
            'pivot',
            threading.Event(),
            watch,
            without_source=False,
            again=again,
        )

    def pivot_without_source(self, watch: progress.Watch) -> None:
        """Have the destination pivot all disks whose exports are gone.

        :raises JobFailed: some base lacks writes; no disk has pivoted
        """
        self._run(
            'pivot',
            threading.Event(),
            watch,
            without_source=True,
            again=False,
        )

    def abort(self) -> None:
        """Have the destination end the running task and all copies.

        The guest stays on the destination.
        """
        self._run('abort', threading.Event())

    def give_back(
        self, endpoint: model.Endpoint, live_xml: str, persistent_xml: str
    ) -> None:
        """Have the destination migrate the guest back to this host.

        :param endpoint: where the destination's libvirt reaches this host
        """
        self._run(
            'give_back',
            threading.Event(),
            boot=boot.current(),
            endpoint=wire.pack(endpoint),
            live_xml=live_xml,
            persistent_xml=persistent_xml,
        )

    def state(self) -> states.State | None:
        """The state in the destination's journal; None without a journal."""
        return self._status().state

    def power(self) -> hypervisor.Power:
        """The state of the guest on the destination."""
        return self._status().power

    def qemu_log(self) -> str:
        """The end of the log of the guest's QEMU on the destination."""
        with peer.understood('qemu_log'):
            return wire.unpack(self._ask('qemu_log')['log'], str)

    def firmware(self) -> dict[str, bytes]:
        """The state of the firmware of a guest that ended on the destination.

        The files by name; see :mod:`firmware`.
        """
        with peer.understood('firmware'):
            files = self._ask('firmware')['files']
            return firmware.unpack(wire.unpack(files, dict[str, str]))

    def pivoted(self, timeout: float) -> tuple[str, ...]:
        """Wait for the end of the last task; return the disks on their bases.

        :param timeout: seconds
        :raises PeerError: the last task still runs
        """
        if not waiting.until(
            lambda: self._status().task.done,
            timeout=timeout,
            interval=self._interval,
        ):
            raise exception.PeerError(
                operation='end its task', reason=f'{timeout} s have passed.'
            )
        return self._status().pivoted

    def has_all(self) -> bool:
        """Whether the destination has proven the pivot of all disks."""
        now = self._status()
        return bool(now.pivoted) and now.state in _PROVEN

    def discard(self) -> None:
        """Have the destination forget a guest that did not come."""
        self._ask('discard', keep=self._held)

    def finish(self) -> status.Totals:
        """Tell the destination that the guest needs this host no longer.

        :returns: nothing is known if an earlier order was carried out
        """
        answer = self._ask('finish', keep=self._held)
        with peer.understood('finish'):
            return wire.unpack(answer.get('totals', {}), status.Totals)

    def close(self, authority: model.Role) -> None:
        """Have the destination close a journal that is settled.

        :param authority: the side on which the guest is
        """
        came = authority is model.Role.DESTINATION
        self._ask('finish' if came else 'discard', keep=False)

    def _run(
        self,
        operation: str,
        cancelled: threading.Event,
        watch: progress.Watch | None = None,
        **values: Any,
    ) -> Any:
        self._ask(operation, **values)
        moved = _Movement(operation)
        for pause in waiting.pauses(self._interval):
            now = self._status()
            moved.check(now)
            if now.task.name != operation:
                raise exception.PeerError(
                    operation=operation,
                    reason='the destination was restarted meanwhile, and the '
                    'operation with it.',
                )
            if watch is not None and now.state is not None:
                watch(now.state, now.disks)
            if now.task.done:
                with peer.understood(operation):
                    peer.raise_failure(now.task.failure)
                return now.task.result
            if cancelled.wait(pause):
                raise exception.Aborted(guest=self.guest)

    def _status(self) -> status.Status:
        answer = self._ask('status')
        with peer.understood('status'):
            return wire.unpack(answer, status.Status)

    def silent_s(self) -> float:
        """The seconds for which a message has been waiting for an answer."""
        asked_at = self._channel.asked_at
        return 0.0 if asked_at is None else time.monotonic() - asked_at

    def _ask(self, operation: str, **values: Any) -> peer.Message:
        return peer.ask(
            self._channel,
            operation,
            self._guest,
            migration=self._migration,
            **values,
        )


def _brief(seed: model.Seed) -> Any:
    """Pack a seed without its extents, of which there may be many."""
    return wire.pack(dataclasses.replace(seed, extents=()))
