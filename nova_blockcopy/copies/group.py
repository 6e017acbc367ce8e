# SPDX-License-Identifier: Apache-2.0
"""All block jobs of one guest, with one bandwidth limit for all of them.

The code runs on the host that the guest runs on: on the destination for
copies into bases, on the source for merges of deltas.
"""

import dataclasses
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable

from nova_blockcopy import bandwidth
from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.copies import job as copyjob
from nova_blockcopy.copies import stall
from nova_blockcopy.drivers import contract
from nova_blockcopy.host import hypervisor
from nova_blockcopy.runtime import waiting


class CopyGroup:
    """The block jobs of one guest, which run side by side.

    The methods also raise the ``DriverError`` of the copy driver.

    :param limit: bytes/s for all jobs together; 0 = no limit
    """

    def __init__(
        self,
        driver: contract.CopyDriver,
        guest: hypervisor.Guest,
        jobs: Iterable[copyjob.Job],
        settings: conf.Settings,
        limit: int,
    ) -> None:
        self._driver = driver
        self._guest = guest
        self._jobs = {job.disk: job for job in jobs}
        self._settings = settings
        self._limit = limit
        self._speeds: dict[str, int] = {}
        self._stall = stall.Stall()

    def start(self) -> None:
        """Start all jobs; an error leaves the later jobs without a start."""
        speeds = bandwidth.shares(
            self._limit, dict.fromkeys(self._jobs, False)
        )
        copy = self._settings.copy
        for disk, job in self._jobs.items():
            job.start(
                dataclasses.replace(
                    copy,
                    bandwidth=speeds[disk],
                    buf_size=copy.buf_size or bandwidth.buffer(speeds[disk]),
                )
            )
        self._speeds = speeds

    def wait_for_begin(self) -> None:
        """Wait until every job has begun to track the guest's writes.

        :raises JobFailed: a job ended, or did not begin in time
        """
        timeout = self._settings.call_timeout
        # before that, libvirt reports a total of 0 or 1
        # (qemuDomainBlockJobInfo)
        if not waiting.until(
            lambda: all(
                disk.ready or disk.total_bytes > 1 for disk in self.look()
            ),
            timeout=timeout,
        ):
            raise exception.JobFailed(
                disk=', '.join(self._jobs),
                reason=f'the block job has not begun after {timeout} s '
                f'([blockcopy] call_timeout). Check the load of this host.',
            )

    def follow(
        self, cancelled: threading.Event, watch: progress.Watch
    ) -> None:
        """Watch the jobs until all are ready.

        :raises JobFailed: a job ended, no job made progress for
            ``stall_timeout``, or ``ready_timeout`` has passed
        :raises Aborted: ``cancelled`` was set
        """
        began = time.monotonic()
        for pause in waiting.pauses(self._settings.poll_interval):
            disks = self.look()
            if all(disk.ready for disk in disks):
                watch(states.State.READY, disks)
                return
            watch(states.State.COPYING, disks)
            self._check_time(disks, time.monotonic() - began)
            if cancelled.wait(pause):
                raise exception.Aborted(guest=self._guest.name)

    def look(self) -> tuple[model.DiskProgress, ...]:
        """Read all figures, and divide the limit over the jobs anew.

        :raises JobFailed: a job ended without a pivot
        """
        statuses = self._driver.status(self._guest.uuid, *self._jobs)
        found = tuple(
            job.progress(statuses.get(disk))
            for disk, job in self._jobs.items()
        )
        self._balance(found)
        return found

    def set_limit(self, bytes_per_s: int) -> None:
        """Change the limit of all jobs together; 0 removes the limit.

        The new limit applies from the next :meth:`look` on.

        :param bytes_per_s: for all jobs together
        """
        self._limit = bytes_per_s

    def pivot(self, done: Callable[[str], None]) -> None:
        """Pivot all disks, within one deadline for all of them.

        :param done: called with each disk whose pivot is proven
        :raises NotReady: a job fell behind and did not catch up in time
        :raises JobFailed: a job ended without a pivot
        """
        deadline = time.monotonic() + self._settings.pivot_timeout
        for disk, job in self._jobs.items():
            if not job.at_base():
                job.pivot(deadline - time.monotonic())
                done(disk)

    def abort(self) -> None:
        """Abort all jobs, and raise the first error after that.

        :raises TooLate: the guest uses a base already
        """
        failures = []
        for job in self._jobs.values():
            try:
                job.abort(self._settings.call_timeout)
            except exception.BlockCopyError as e:
                failures.append(e)
        if failures:
            raise failures[0]

    def abort_refused(self) -> None:
        """Abort the jobs whose pivot libvirt has refused.

        If a device has left the guest since the start of a copy, AppArmor
        denies the layers below the base, which libvirt opens at the pivot only
        (qemuBlockPivot in libvirt's src/qemu/qemu_block.c). The start of a
        copy permits them again.
        """
        for job in self._jobs.values():
            job.abort_refused(self._settings.call_timeout)

    def _balance(self, disks: tuple[model.DiskProgress, ...]) -> None:
        wanted = bandwidth.shares(
            self._limit,
            {disk.disk: disk.ready for disk in disks if not disk.pivoted},
        )
        for disk, speed in wanted.items():
            if self._speeds.get(disk) != speed:
                self._jobs[disk].set_speed(speed)
        self._speeds = wanted

    def _check_time(
        self, disks: tuple[model.DiskProgress, ...], elapsed: float
    ) -> None:
        stalled = self._settings.stall_timeout
        whole = self._settings.ready_timeout
        moved = sum(disk.processed_bytes for disk in disks)
        if self._stall.seconds(moved) > stalled:
            raise exception.JobFailed(
                disk=', '.join(self._jobs),
                reason=f'no block job made progress for {stalled:.0f} s '
                f'([blockcopy] stall_timeout). Check the network and the '
                f'storage of both hosts.',
            )
        if whole and elapsed > whole:
            raise exception.JobFailed(
                disk=', '.join(self._jobs),
                reason=f'the block jobs are not ready after {whole:.0f} s '
                f'([blockcopy] ready_timeout). Raise that limit or the '
                f'bandwidth, or use seeded mode.',
            )
