# SPDX-License-Identifier: Apache-2.0
"""The block job of one disk: start, look, pivot, prove, abort.

The code runs on the host that the guest runs on. Each call can be repeated
after an interruption: the job reads from the domain how far it got.
"""

import abc
import contextlib
import dataclasses
import time
from collections.abc import Callable

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import mirror
from nova_blockcopy import model
from nova_blockcopy.drivers import contract
from nova_blockcopy.host import apparmor
from nova_blockcopy.host import hypervisor
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import waiting

LOG = logging.getLogger(__name__)

#: Seconds between two checks whether a job has ended.
_TICK = 0.02


class Job(abc.ABC):
    """The block job that moves one disk of a guest to another image.

    The methods also raise the ``DriverError`` of the copy driver.

    :param base: the image that the guest uses after the pivot
    """

    _kind: contract.JobKind
    #: The usual cause of a job that ends before the pivot; completes a
    #: sentence that begins with the path of the base.
    _usual_cause: str

    def __init__(
        self,
        driver: contract.CopyDriver,
        guest: hypervisor.Guest,
        disk: str,
        base: model.Image,
    ) -> None:
        self.disk = disk
        self._driver = driver
        self._guest = guest
        self._base = base
        self._refused = False

    def start(self, settings: model.CopySettings) -> None:
        """Start the job, unless the job runs or has pivoted already."""
        if self._status() is None and not self.at_base():
            self._start(settings)

    @abc.abstractmethod
    def _start(self, settings: model.CopySettings) -> None: ...

    def look(self) -> model.DiskProgress:
        """Read the job's progress; see :meth:`progress`."""
        return self.progress(self._status())

    def progress(
        self, status: contract.JobStatus | None
    ) -> model.DiskProgress:
        """Return the job's progress.

        :param status: the newest answer of the copy driver; None if the disk
            has no block job
        :raises JobFailed: the job ended without a pivot
        :raises ForeignJob: another program started the job
        """
        status = self._ours(status)
        if status is not None:
            return model.DiskProgress(
                disk=self.disk,
                processed_bytes=status.processed,
                total_bytes=status.total,
                ready=status.ready,
            )
        if self.at_base():
            return model.DiskProgress(disk=self.disk, ready=True, pivoted=True)
        raise exception.JobFailed(
            disk=self.disk,
            reason=f'the block job ended before the pivot; usually '
            f'{self._base.path} {self._usual_cause}. See the guest\'s QEMU '
            f'log on {self._guest.host} for the error.',
        )

    def at_base(self) -> bool:
        """Tell whether the running guest uses the base and no mirror."""
        return domxml.at_image(self._live(), self._base)

    def set_speed(self, bytes_per_s: int) -> None:
        """Limit the job; 0 removes the limit."""
        self._driver.set_speed(self._guest.uuid, self.disk, bytes_per_s)

    def pivot(self, timeout: float) -> None:
        """Pivot the guest to the base, and prove that the guest uses the base.

        :param timeout: seconds, for all attempts together
        :raises NotReady: the job fell behind and did not catch up in time
        :raises PivotRefused: libvirt refused the pivot; the job goes on
        :raises JobFailed: the job ended without a pivot
        :raises DriverTimeout: the job has not ended after the pivot
        """
        if self.at_base():
            return
        deadline = time.monotonic() + timeout
        if not waiting.until(self._accepted, timeout=timeout):
            raise exception.NotReady(disk=self.disk)
        # QEMU cannot refuse an accepted pivot any more, so there is at least
        # one second to see the end of the job
        self._wait_for_end('pivot', max(1.0, deadline - time.monotonic()))
        self.look()

    def abort_refused(self, timeout: float) -> None:
        """Abort the job if libvirt has refused its pivot.

        :param timeout: seconds
        """
        if self._refused:
            self.abort(timeout)
            self._refused = False

    def abort(self, timeout: float) -> None:
        """Abort the job; the guest keeps the present image.

        A job of another program stays: a disk has one block job at most, so
        there is none of ours.

        :param timeout: seconds
        :raises DriverTimeout: the job has not ended in time
        :raises TooLate: the guest uses the base already
        """
        try:
            running = self._status() is not None
        except exception.ForeignJob as e:
            LOG.warning('%s', e)
            running = False
        if running:
            self._driver.abort(self._guest.uuid, self.disk)
            self._wait_for_end('abort a copy', timeout)
        with contextlib.suppress(exception.DiskGone):
            if self.at_base():
                raise exception.TooLate(
                    reason=f'the guest uses {self._base.path} for disk '
                    f'{self.disk} already.'
                )

    def _accepted(self) -> bool:
        try:
            self._driver.pivot(self._guest.uuid, self.disk)
        except exception.NotReady:
            return False
        except exception.DriverTimeout:
            raise
        except exception.DriverError as e:
            self.look()  # raises a clearer error if the job has ended
            self._refused = True
            raise exception.PivotRefused(str(e)) from e
        return True

    def _wait_for_end(self, action: str, timeout: float) -> None:
        if not waiting.until(
            lambda: self._status() is None,
            timeout=timeout,
            # the guest is paused meanwhile
            interval=_TICK,
        ):
            raise exception.DriverTimeout(
                action=action, disk=self.disk, timeout=timeout
            )

    def _status(self) -> contract.JobStatus | None:
        found = self._driver.status(self._guest.uuid, self.disk)
        return self._ours(found.get(self.disk))

    def _ours(
        self, status: contract.JobStatus | None
    ) -> contract.JobStatus | None:
        """Pass if a status is that of this job.

        :raises ForeignJob: the disk has a job that another program started
        """
        if status is not None and not (
            status.kind in (self._kind, contract.JobKind.UNKNOWN)
            and status.into in (None, self._base.path)
        ):
            raise exception.ForeignJob(
                guest=self._guest.name,
                host=self._guest.host,
                disk=self.disk,
                kind=status.kind,
            )
        return status

    def _live(self) -> model.Disk:
        return domxml.disk(self._guest.running_xml(), self.disk)


class CopyJob(Job):
    """The copy of one disk into a base, on the destination.

    :param mode: the mode of the migration; the copy into a seeded base is
        shallow
    :param limits: reads the limits of a copy into the base
    """

    _kind = contract.JobKind.COPY
    _usual_cause = 'could not be written, or the export could not be read'

    def __init__(
        self,
        driver: contract.CopyDriver,
        guest: hypervisor.Guest,
        move: model.Move,
        mode: model.Mode,
        limits: Callable[[], mirror.Limits],
    ) -> None:
        super().__init__(driver, guest, move.disk, move.base)
        seeded = mode is model.Mode.SEEDED
        self._shallow = seeded or not move.whole
        self._remote = seeded or move.below() is not None
        self._limits = limits

    def _start(self, settings: model.CopySettings) -> None:
        self._check_layers()
        limits = self._limits()
        granularity = settings.granularity
        if 0 < granularity < limits.granularity:
            granularity = limits.granularity
            LOG.info(
                'Disk %s is copied with granularity %d, because %s',
                *(self.disk, granularity, limits.reason),
            )
        self._driver.start(
            self._guest.uuid,
            self.disk,
            self._base,
            dataclasses.replace(
                settings,
                granularity=granularity,
                synchronous_writes=settings.synchronous_writes
                and limits.synchronous,
                shallow=self._shallow,
            ),
        )

    def _check_layers(self) -> None:
        """Check that the guest reads the layers that the copy relies on.

        libvirt silently turns a shallow copy into a full one if the live disk
        has only one layer (qemuDomainBlockCopyCommon in libvirt's
        src/qemu/qemu_driver.c). A full copy writes zeroes to the base first.

        :raises JobFailed: the guest reads other layers
        """
        source = self._live().source
        fits = isinstance(source, model.NetworkSource) and (
            isinstance(source.backing, model.NetworkSource)
            if self._remote
            else source.backing == self._base.backing
        )
        if not fits:
            raise exception.JobFailed(
                disk=self.disk,
                reason=f'it was not started, because the guest on '
                f'{self._guest.host} does not read the layers that the '
                f'migration gave it: somebody has changed its disk. Look at '
                f'the disk with "virsh dumpxml" there.',
            )


class CommitJob(Job):
    """The merge of one disk's deltas into the disk, on the source."""

    _kind = contract.JobKind.ACTIVE_COMMIT
    _usual_cause = 'could not be written'
    #: The highest layer to merge; None for the one that the guest writes to.
    _top: model.Image | None = None

    def _start(self, settings: model.CopySettings) -> None:
        # the end of another job takes the permission away again
        apparmor.permit_writing(self._guest.uuid, self._base.path)
        self._driver.commit(
            *(self._guest.uuid, self.disk, self._base, settings.bandwidth),
            top=self._top,
        )


class InnerCommitJob(CommitJob):
    """The merge of deltas that are below the layer that the guest writes to.

    Another program has put that layer on top. The job ends by itself, so
    there is nothing to pivot.

    :param top: the highest delta
    """

    _kind = contract.JobKind.COMMIT
    _top: model.Image

    def __init__(
        self,
        driver: contract.CopyDriver,
        guest: hypervisor.Guest,
        disk: str,
        base: model.Image,
        top: model.Image,
    ) -> None:
        super().__init__(driver, guest, disk, base)
        self._top = top

    def at_base(self) -> bool:
        """Tell whether the deltas are no longer below the guest's layer."""
        paths = [layer.path for layer in self._live().layers]
        return self._top.path not in paths and self._base.path in paths
