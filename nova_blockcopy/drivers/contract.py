# SPDX-License-Identifier: Apache-2.0
"""The contract of a copy driver: its methods, their values and errors."""

import abc
import dataclasses
import enum
from collections.abc import Callable

import libvirt

from nova_blockcopy import domxml
from nova_blockcopy import model


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A driver's access to libvirt on the host that the guest runs on.

    ``uri`` and ``connect`` lead to the same libvirt. ``connect`` returns an
    open connection. ``timeout`` is the time limit of one call in seconds.
    """

    uri: str
    connect: Callable[[], libvirt.virConnect]
    timeout: int


class JobKind(enum.StrEnum):
    """The kinds of block jobs, by virsh's names for them."""

    UNKNOWN = 'Unknown job'
    PULL = 'Block Pull'
    COPY = 'Block Copy'
    #: The merge of a layer that the guest does not write to. The job ends by
    #: itself, without a pivot.
    COMMIT = 'Block Commit'
    ACTIVE_COMMIT = 'Active Block Commit'
    BACKUP = 'Backup'

    @classmethod
    def _missing_(cls, _value: object) -> 'JobKind':
        return cls.UNKNOWN


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """libvirt's figures of a block job: bytes, and bytes/s for bandwidth.

    The default of ``kind`` is for a job that has no figures.

    The figures do not tell that a job is done. ``processed == total`` occurs
    before a copy is ready, and both are 0 or 1 when the job begins
    (qemuDomainBlockJobInfo, virDomainGetBlockJobInfo).
    """

    processed: int
    total: int
    bandwidth: int
    kind: JobKind = JobKind.UNKNOWN


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus(JobInfo):
    """The figures of a block job, and whether the job is ready.

    ``ready`` comes from the domain's XML (``<mirror ready='yes'>``), and so
    does ``into``, the path of the image that the job copies into. ``into`` is
    None for a job that the XML does not show.
    """

    ready: bool
    into: str | None = None


_NO_FIGURES = JobInfo(processed=0, total=0, bandwidth=0)


class CopyDriver(abc.ABC):
    """Runs the block jobs of the guests of one host.

    ``guest`` is a guest's UUID. ``disk`` is the target of a disk (``vda``),
    which stays the same when the disk's image changes. Each call of libvirt
    ends within the time limit of the :class:`Access`, or raises:

    :raises DriverError: libvirt refused or failed the call
    :raises DriverTimeout: libvirt did not answer in time
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

        A shallow copy copies the top layer only, because the base has the
        same layers below. Declare the format and the whole chain of the base
        to libvirt, so that libvirt probes nothing.

        :param base: the base, on the host that the guest runs on
        :param settings: how to copy; a value of 0 is libvirt's default
        """

    @abc.abstractmethod
    def commit(
        self,
        guest: str,
        disk: str,
        into: model.Image,
        bytes_per_s: int,
        *,
        top: model.Image | None = None,
    ) -> None:
        """Start to merge layers of a disk into an image below them.

        If the layer that the guest writes to is among them, the job mirrors
        like a copy when all is merged. A pivot ends the job, and the guest
        then uses that image. Otherwise the job ends by itself.

        :param into: an image in the chain of the disk
        :param bytes_per_s: 0 = no limit
        :param top: the highest layer to merge; None for the layer that the
            guest writes to
        """

    def status(self, guest: str, *disks: str) -> dict[str, JobStatus]:
        """Return the status of the block job of each disk that has one.

        A missing entry does not mean that the job succeeded: a job that
        failed is missing, too.
        """
        infos = {disk: self._job_info(guest, disk) for disk in disks}
        # The XML is read after the figures: a job that is ready stays ready.
        domain = domxml.disks(self._domain_xml(guest))
        return {
            disk: JobStatus(
                **dataclasses.asdict(info or _NO_FIGURES),
                ready=shown is not None and bool(shown.mirror_ready),
                into=None if shown is None else shown.mirror_path,
            )
            for disk, info in infos.items()
            for shown in (domain.get(disk),)
            if info is not None
            or (shown is not None and shown.mirror_ready is not None)
        }

    @abc.abstractmethod
    def set_speed(self, guest: str, disk: str, bytes_per_s: int) -> None:
        """Limit a running job; 0 removes the limit."""

    @abc.abstractmethod
    def pivot(self, guest: str, disk: str) -> None:
        """Ask QEMU to end the job with a pivot to its target.

        Return when QEMU has accepted. The caller reads from the domain
        whether the pivot happened.

        :raises NotReady: the job is not in its mirroring phase yet; the job
            goes on
        """

    @abc.abstractmethod
    def abort(self, guest: str, disk: str) -> None:
        """Ask QEMU to cancel the job; the guest keeps its present image."""

    @abc.abstractmethod
    def _job_info(self, guest: str, disk: str) -> JobInfo | None:
        """Read the figures of a block job; None if the disk has no job."""

    @abc.abstractmethod
    def _domain_xml(self, guest: str) -> str:
        """Read the XML of the running domain."""
