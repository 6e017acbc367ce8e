# SPDX-License-Identifier: Apache-2.0
"""The contract of a copy driver: what it is told, and what it may raise."""

import abc
import dataclasses
from collections.abc import Callable

import libvirt

from nova_blockcopy import domxml
from nova_blockcopy import model


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a driver works with, on the host that the guest runs on.

    ``uri`` and ``connect`` lead to the same libvirt. ``timeout`` is in
    seconds, for one call.
    """

    uri: str
    connect: Callable[[], libvirt.virConnect]
    timeout: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """What libvirt counts of a block job: bytes, and bytes/s.

    Neither figure tells that a job is done: ``processed == total`` is seen
    before a copy is ready, and both are 0 or 1 at its beginning
    (qemuDomainBlockJobInfo, virDomainGetBlockJobInfo).
    """

    processed: int
    total: int
    bandwidth: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus(JobInfo):
    """A copy that exists. ``ready`` is read from the domain's XML."""

    ready: bool


_NO_FIGURES = JobInfo(processed=0, total=0, bandwidth=0)


class CopyDriver(abc.ABC):
    """Runs block copies of the guests of one host.

    A guest is named by its UUID, a disk by its target (``vda``), which
    stays what it is when the disk's image changes. Every method returns
    within the time limit of its :class:`Access`, or raises:

    :raises DriverError: libvirt refused or failed the call
    :raises DriverTimeout: there was no answer in time
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    @abc.abstractmethod
    def start(
        self,
        guest: str,
        disk: str,
        base: model.Image,
        settings: model.CopySettings,
    ) -> None:
        """Start a copy of a disk into its existing base.

        A shallow one copies the top layer only: the base has the same
        layers below it.

        The format and the whole chain of the base are declared, so that
        nothing is probed.
        """

    @abc.abstractmethod
    def commit(
        self, guest: str, disk: str, into: model.Image, bytes_per_s: int
    ) -> None:
        """Start to merge all that lies above an image of a disk into it.

        The job then mirrors like a copy, and is ended by a pivot, after
        which the guest uses that image.

        :param bytes_per_s: 0 = no limit
        """

    def status(self, guest: str, *disks: str) -> dict[str, JobStatus]:
        """Look at the block jobs of disks; a disk without one has no entry.

        A missing job does not tell that the job succeeded: a copy that
        failed is gone just the same.
        """
        infos = {disk: self._job_info(guest, disk) for disk in disks}
        # after the figures: a job that is ready now stays ready
        domain = domxml.disks(self._domain_xml(guest))
        return {
            disk: JobStatus(
                **dataclasses.asdict(info or _NO_FIGURES),
                ready=bool(domain[disk].mirror_ready),
            )
            for disk, info in infos.items()
            if info is not None or domain[disk].mirror_ready is not None
        }

    @abc.abstractmethod
    def set_speed(self, guest: str, disk: str, bytes_per_s: int) -> None:
        """Limit a running copy; 0 lifts the limit."""

    @abc.abstractmethod
    def pivot(self, guest: str, disk: str) -> None:
        """Ask that the guest use the base from now on.

        Returns when the hypervisor has accepted; that it happened is read
        from the domain afterwards.

        :raises NotReady: the copy does not mirror yet, it goes on
        """

    @abc.abstractmethod
    def abort(self, guest: str, disk: str) -> None:
        """Ask for the end of a copy; the guest stays on its source."""

    @abc.abstractmethod
    def _job_info(self, guest: str, disk: str) -> JobInfo | None:
        """Read the figures of a block job; None if there is none."""

    @abc.abstractmethod
    def _domain_xml(self, guest: str) -> str:
        """Read the running domain."""
