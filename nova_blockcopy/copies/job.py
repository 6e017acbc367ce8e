# SPDX-License-Identifier: Apache-2.0
"""The block job of one disk: start, look, pivot, prove, abort.

Runs where the guest runs. Everything here can be done twice: what is done
already is found by reading the domain.
"""

import abc
import dataclasses
import time
from collections.abc import Callable

from oslo_log import log as logging

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import mirror
from nova_blockcopy import model
from nova_blockcopy.drivers import contract
from nova_blockcopy.host import hypervisor
from nova_blockcopy.runtime import waiting

LOG = logging.getLogger(__name__)

#: Seconds between two looks at whether a job has ended.
_TICK = 0.02


class Job(abc.ABC):
    """One disk on its way onto another image.

    :param base: that image
    """

    #: The usual cause of an end before the pivot, about the base.
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

    def start(self, settings: model.CopySettings) -> None:
        """Start the job, unless it runs or has been pivoted already."""
        if self._status() is None and not self.at_base():
            self._start(settings)

    @abc.abstractmethod
    def _start(self, settings: model.CopySettings) -> None: ...

    def look(self) -> model.DiskProgress:
        """Read how far it is; see :meth:`progress`."""
        return self.progress(self._status())

    def progress(
        self, status: contract.JobStatus | None
    ) -> model.DiskProgress:
        """How far it is.

        :param status: what the copy driver has just said of it
        :raises JobFailed: it is gone, and the disk is not on its base
        """
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
            reason=f'its job ended before the pivot; the usual cause is that '
            f'{self._base.path} {self._usual_cause}. The QEMU log of '
            f'{self._guest.host} has the error.',
        )

    def at_base(self) -> bool:
        """Whether the running guest uses the base, and nothing else."""
        return domxml.at_image(self._live(), self._base)

    def set_speed(self, bytes_per_s: int) -> None:
        """Limit the job; 0 lifts the limit."""
        self._driver.set_speed(self._guest.uuid, self.disk, bytes_per_s)

    def pivot(self, timeout: float) -> None:
        """Make the guest use the base, and prove that it does.

        :param timeout: seconds, for all attempts together
        :raises NotReady: the copy fell back and did not catch up in time
        :raises JobFailed: the copy ended, but not on the base
        """
        if self.at_base():
            return
        deadline = time.monotonic() + timeout
        if not waiting.until(self._accepted, timeout=timeout):
            raise exception.NotReady(disk=self.disk)
        # accepted, it cannot be refused any more: give it time to be seen
        self._wait_for_end('pivot', max(1.0, deadline - time.monotonic()))
        self.look()

    def abort(self, timeout: float) -> None:
        """End the job; the guest stays on what it had before.

        :param timeout: seconds
        :raises DriverTimeout: the job is still there
        :raises TooLate: the disk lives on its base
        """
        if self._status() is not None:
            self._driver.abort(self._guest.uuid, self.disk)
            self._wait_for_end('abort a copy', timeout)
        if self.at_base():
            raise exception.TooLate(
                reason=f'{self.disk} lives on {self._base.path} already.'
            )

    def _accepted(self) -> bool:
        try:
            self._driver.pivot(self._guest.uuid, self.disk)
        except exception.NotReady:
            return False
        except exception.DriverError:
            self.look()  # it says so better if the job is gone
            raise
        return True

    def _wait_for_end(self, action: str, timeout: float) -> None:
        if not waiting.until(
            lambda: self._status() is None,
            timeout=timeout,
            # the guest stands still meanwhile
            interval=_TICK,
        ):
            raise exception.DriverTimeout(
                action=action, disk=self.disk, timeout=timeout
            )

    def _status(self) -> contract.JobStatus | None:
        found = self._driver.status(self._guest.uuid, self.disk)
        return found.get(self.disk)

    def _live(self) -> model.Disk:
        return domxml.disks(self._guest.running_xml())[self.disk]


class CopyJob(Job):
    """One disk on its way into its base, on the destination.

    :param mode: of the migration; a base that was seeded takes the top layer
        only
    :param limits: looks what the base allows
    """

    _usual_cause = 'could not be written or the export not be read'

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
                'Disk %s of guest %s is copied with granularity %d: %s',
                *(self.disk, self._guest.name, granularity, limits.reason),
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
        """Pass if the guest reads the layers that the copy relies on.

        libvirt makes a shallow copy a full one, silently, where it knows of
        no layer below the top (qemuDomainBlockCopyCommon in
        src/qemu/qemu_driver.c). A full one writes zeroes to its base first.
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
                reason=f'it has not been started, as the guest does not read '
                f'the layers that it was sent with on {self._guest.host}; '
                f'somebody has changed its disk.',
            )


class CommitJob(Job):
    """The deltas of one disk on their way into the disk, on the source."""

    _usual_cause = 'could not be written'

    def _start(self, settings: model.CopySettings) -> None:
        self._driver.commit(
            self._guest.uuid, self.disk, self._base, settings.bandwidth
        )
