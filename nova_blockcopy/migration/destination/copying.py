# SPDX-License-Identifier: Apache-2.0
"""The block copies of a guest that has arrived, and their limits."""

import dataclasses
import functools
import threading

from nova_blockcopy import bandwidth
from nova_blockcopy import drivers
from nova_blockcopy import mirror
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy.copies import group
from nova_blockcopy.copies import job
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import images
from nova_blockcopy.migration import pauses
from nova_blockcopy.migration.destination import host as hosts
from nova_blockcopy.records import journal


class Copying:
    """The copies of one guest from the exports into the bases.

    :param page: the journal of the migration
    :param limit: bytes/s for all copies together; 0 = no limit
    :param synchronous_writes: have each guest write wait for the base, if
        the base and QEMU's version allow that
    :raises GuestNotFound: the guest is not defined on this host
    """

    def __init__(
        self,
        host: hosts.Host,
        page: journal.Page,
        limit: int = 0,
        *,
        synchronous_writes: bool = False,
    ) -> None:
        self._host = host
        self._page = page
        record = page.record
        self.guest = host.here.guest(page.guest)
        self.pauses = pauses_of(self.guest, page)
        # a copy may start while the guest is paused, so it asks only once
        self._limits = functools.cache(self._ask_limits)
        driver = drivers.load(host.settings, host.here.connect)
        self.group = group.CopyGroup(
            driver,
            self.guest,
            [
                job.CopyJob(
                    *(driver, self.guest, move, record.mode),
                    functools.partial(self._limits, move.base),
                )
                for move in record.moves
            ],
            dataclasses.replace(
                host.settings, synchronous_writes=synchronous_writes
            ),
            limit,
        )

    def run(self, cancelled: threading.Event, watch: progress.Watch) -> None:
        """Start the copies, and follow them until all are ready.

        :raises JobFailed: a copy failed, or no copy made progress in time
        :raises Aborted: ``cancelled`` was set
        """
        if mirror.misses_first_writes(self._hypervisor()):
            for move in self._page.record.moves:
                self._limits(move.base)  # the helper may be slow to answer
            with self.pauses.standing_still():
                self.group.start()
                self.group.wait_for_begin()
        else:
            self.group.start()
        self.group.follow(cancelled, watch)

    def slow_down(self, bytes_per_s: int) -> None:
        """Limit the guest's writes, so that the copies can become ready.

        The journal has the old limits of each disk before the first change.

        :param bytes_per_s: for all disks together; 0 changes nothing
        """
        if not bytes_per_s:
            return
        record = self._page.record
        before = record.limits or {
            move.disk: self.guest.limits(move.disk) for move in record.moves
        }
        self._page.note(
            record.state, 'the guest is slowed down', limits=before
        )
        share = bytes_per_s // len(record.moves)
        for move in record.moves:
            unit = self._limits(move.base).granularity
            limits = bandwidth.slowed(before[move.disk], share, unit)
            self.guest.limit(move.disk, limits)

    def _ask_limits(self, base: model.Image) -> mirror.Limits:
        return mirror.limits(
            base,
            alignment=images.alignment(base.path),
            cluster=images.cluster(base),
            hypervisor=self._hypervisor(),
        )

    def _hypervisor(self) -> int:
        return self._host.here.versions().hypervisor


def pauses_of(guest: hypervisor.Guest, page: journal.Page) -> pauses.Pauses:
    """The engine's pauses of a guest that has arrived."""
    return pauses.Pauses(
        guest,
        lambda: page.record,
        lambda paused: _note(page, paused),
    )


def _note(page: journal.Page, paused: bool) -> None:
    page.note(page.record.state, paused=paused)


def speed_up(guest: hypervisor.Guest, page: journal.Page) -> None:
    """Restore the limits that the disks had before the slowdown."""
    record = page.record
    if not record.limits or guest.power() is hypervisor.Power.OFF:
        return
    for disk, limits in record.limits.items():
        guest.limit(disk, limits)
    page.note(record.state, 'the guest is not slowed down', limits={})
