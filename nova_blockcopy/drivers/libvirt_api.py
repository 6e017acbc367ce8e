# SPDX-License-Identifier: Apache-2.0
"""The copy driver that calls the libvirt API."""

import contextlib
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import libvirt

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.drivers import contract
from nova_blockcopy.host import repeat
from nova_blockcopy.runtime import task

_ASYNC = libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC
_KINDS = {
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL: contract.JobKind.PULL,
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY: contract.JobKind.COPY,
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT: contract.JobKind.COMMIT,
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT: (
        contract.JobKind.ACTIVE_COMMIT
    ),
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP: contract.JobKind.BACKUP,
}


class LibvirtCopyDriver(contract.CopyDriver):
    """Calls ``virDomainBlockCopy`` and related functions of libvirt.

    libvirt has no time limit for a call. So each call runs on a thread of
    its own, which is abandoned when the time has passed.
    """

    def start(
        self,
        guest: str,
        disk: str,
        base: model.Image,
        settings: model.CopySettings,
    ) -> None:
        self._call(
            'start a copy',
            guest,
            disk,
            lambda domain: domain.blockCopy(
                disk,
                domxml.copy_destination(base),
                _parameters(settings),
                _flags(settings),
            ),
        )

    def commit(
        self,
        guest: str,
        disk: str,
        into: model.Image,
        bytes_per_s: int,
        *,
        top: model.Image | None = None,
    ) -> None:
        flags = libvirt.VIR_DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES
        if top is None:
            flags |= libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
        path = None if top is None else top.path
        self._call(
            'start a commit',
            guest,
            disk,
            lambda domain: domain.blockCommit(
                disk, into.path, path, bytes_per_s, flags
            ),
        )

    def set_speed(self, guest: str, disk: str, bytes_per_s: int) -> None:
        self._call(
            'set the speed',
            guest,
            disk,
            lambda domain: domain.blockJobSetSpeed(
                disk,
                bytes_per_s,
                libvirt.VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES,
            ),
        )

    def pivot(self, guest: str, disk: str) -> None:
        flags = libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT | _ASYNC
        self._call(
            'pivot',
            guest,
            disk,
            lambda domain: domain.blockJobAbort(disk, flags),
        )

    def abort(self, guest: str, disk: str) -> None:
        self._call(
            'abort a copy',
            guest,
            disk,
            lambda domain: domain.blockJobAbort(disk, _ASYNC),
        )

    def _job_info(self, guest: str, disk: str) -> contract.JobInfo | None:
        info = self._call(
            'read the block job',
            guest,
            disk,
            lambda domain: domain.blockJobInfo(
                disk, libvirt.VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES
            ),
        )
        if not info:
            return None
        return contract.JobInfo(
            processed=info['cur'],
            total=info['end'],
            bandwidth=info['bandwidth'],
            kind=_KINDS.get(info['type'], contract.JobKind.UNKNOWN),
        )

    def _domain_xml(self, guest: str) -> str:
        return str(
            self._call(
                'read the domain', guest, '-', lambda domain: domain.XMLDesc()
            )
        )

    def _call(
        self,
        action: str,
        guest: str,
        disk: str,
        ask: Callable[[libvirt.virDomain], Any],
    ) -> Any:
        @repeat.explained
        def work(_cancelled: threading.Event) -> Any:
            with _translated(action, disk):
                return ask(self._access.connect().lookupByUUIDString(guest))

        call = task.Task(action, work)
        if not call.wait(self._access.timeout):
            raise exception.DriverTimeout(
                action=action, disk=disk, timeout=self._access.timeout
            )
        if call.failure is not None:
            raise call.failure
        return call.result


def _parameters(settings: model.CopySettings) -> dict[str, int]:
    """Return typed parameters; libvirt's defaults stand for values of 0."""
    values = {
        libvirt.VIR_DOMAIN_BLOCK_COPY_BANDWIDTH: settings.bandwidth,
        libvirt.VIR_DOMAIN_BLOCK_COPY_GRANULARITY: settings.granularity,
        libvirt.VIR_DOMAIN_BLOCK_COPY_BUF_SIZE: settings.buf_size,
    }
    return {name: value for name, value in values.items() if value}


def _flags(settings: model.CopySettings) -> int:
    flags = (
        libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT
        # without this flag, libvirt refuses a persistent domain: "domain is
        # not transient"
        | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
    )
    if settings.shallow:
        flags |= libvirt.VIR_DOMAIN_BLOCK_COPY_SHALLOW
    if settings.synchronous_writes:
        flags |= libvirt.VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES
    return int(flags)


@contextlib.contextmanager
def _translated(action: str, disk: str) -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as e:
        if e.get_error_code() == libvirt.VIR_ERR_BLOCK_COPY_ACTIVE:
            raise exception.NotReady(disk=disk) from e
        raise exception.DriverError(action=action, disk=disk, reason=e) from e
