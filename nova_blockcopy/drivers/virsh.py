# SPDX-License-Identifier: Apache-2.0
"""The copy driver that runs the ``virsh`` command once for each call."""

import contextlib
import re
import tempfile
from collections.abc import Iterator

from nova_blockcopy import bandwidth
from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.drivers import contract
from nova_blockcopy.host import command
from nova_blockcopy.host import confinement

#: The text of VIR_ERR_BLOCK_COPY_ACTIVE (qemuDomainBlockJobPivot in libvirt's
#: src/qemu/qemu_driver.c), because virsh prints no error codes.
_NOT_READY = 'not ready for pivot yet'
_FIGURE = re.compile(r'^ (?P<name>[a-z]+)=(?P<value>.*)$', re.MULTILINE)


class VirshCopyDriver(contract.CopyDriver):
    """Runs ``virsh blockcopy``, ``blockcommit`` and ``blockjob``.

    ``blockcopy`` never gets ``--wait``, ``--pivot`` or ``--timeout``: with
    these, virsh itself would decide when to abort a job.
    """

    def start(
        self,
        guest: str,
        disk: str,
        base: model.Image,
        settings: model.CopySettings,
    ) -> None:
        with _destination(base) as destination:
            self._virsh(
                'start a copy',
                disk,
                *('blockcopy', guest, disk),
                *destination,
                *_copy(base, settings),
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
        limit = ['--bandwidth', *_bandwidth(bytes_per_s)]
        self._virsh(
            'start a commit',
            disk,
            *('blockcommit', guest, disk, '--base', into.path),
            *(('--active',) if top is None else ('--top', top.path)),
            *(limit if bytes_per_s else ()),
        )

    def set_speed(self, guest: str, disk: str, bytes_per_s: int) -> None:
        self._virsh(
            'set the speed',
            disk,
            *('blockjob', guest, disk),
            *('--bandwidth', str(bytes_per_s), '--bytes'),
        )

    def pivot(self, guest: str, disk: str) -> None:
        self._virsh(
            'pivot', disk, 'blockjob', guest, disk, '--pivot', '--async'
        )

    def abort(self, guest: str, disk: str) -> None:
        self._virsh(
            'abort a copy', disk, 'blockjob', guest, disk, '--abort', '--async'
        )

    def _job_info(self, guest: str, disk: str) -> contract.JobInfo | None:
        printed = self._virsh(
            'read the block job',
            disk,
            *('blockjob', guest, disk, '--raw', '--bytes'),
        )
        try:
            return job_info(printed)
        except ValueError as e:
            raise exception.DriverError(
                action='read the block job', disk=disk, reason=e
            ) from e

    def _domain_xml(self, guest: str) -> str:
        return self._virsh('read the domain', '-', 'dumpxml', guest)

    def _virsh(self, action: str, disk: str, *arguments: str) -> str:
        timeout = self._access.timeout
        try:
            return command.run(
                *('virsh', '--quiet', '--connect', self._access.uri),
                *arguments,
                confined=confinement.KEPT,
                timeout=timeout,
            )
        except command.CommandTimeout as e:
            raise exception.DriverTimeout(
                action=action, disk=disk, timeout=timeout
            ) from e
        except command.CommandFailed as e:
            if _NOT_READY in str(e):
                raise exception.NotReady(disk=disk) from e
            raise exception.DriverError(
                action=action, disk=disk, reason=e
            ) from e


def job_info(printed: str) -> contract.JobInfo | None:
    """Parse the output of ``virsh blockjob --raw --bytes``.

    :returns: the figures; None if the output is empty, as there is no job
    :raises ValueError: a figure is missing or is no number
    """
    if not printed.strip():
        return None
    figures = {m['name']: m['value'] for m in _FIGURE.finditer(printed)}
    try:
        return contract.JobInfo(
            processed=int(figures['cur']),
            total=int(figures['end']),
            bandwidth=int(figures['bandwidth']),
            kind=contract.JobKind(figures['type']),
        )
    except KeyError as e:
        raise ValueError(f'virsh printed no {e}: {printed!r}') from e


@contextlib.contextmanager
def _destination(base: model.Image) -> Iterator[list[str]]:
    """Yield the arguments that name the base.

    ``--dest`` can name only an image of one layer, as a raw image is. A base
    of another format goes into a file for ``--xml``, so that its chain is
    declared.
    """
    if base.format is model.ImageFormat.RAW:
        yield ['--dest', base.path]
        return
    with tempfile.NamedTemporaryFile('w', suffix='.xml') as f:
        f.write(domxml.copy_destination(base))
        f.flush()
        yield ['--xml', f.name]


def _copy(base: model.Image, settings: model.CopySettings) -> list[str]:
    """Return the other arguments; libvirt's defaults stand for 0."""
    by_path = base.format is model.ImageFormat.RAW
    arguments = ['--shallow'] if settings.shallow else []
    arguments += ['--reuse-external']
    if by_path and base.kind is model.ImageKind.BLOCK:
        arguments += ['--blockdev']
    if settings.bandwidth:
        arguments += ['--bandwidth', *_bandwidth(settings.bandwidth)]
    if settings.granularity:
        arguments += ['--granularity', str(settings.granularity)]
    if settings.buf_size:
        arguments += ['--buf-size', str(settings.buf_size)]
    if settings.synchronous_writes:
        arguments += ['--synchronous-writes']
    if by_path:
        arguments += ['--format', base.format.value]
    # without --transient-job, libvirt refuses a persistent domain: "domain is
    # not transient"
    return [*arguments, '--transient-job']


def _bandwidth(bytes_per_s: int) -> list[str]:
    mib, rest = divmod(bytes_per_s, bandwidth.MIB)
    return [str(bytes_per_s), '--bytes'] if rest else [str(mib)]
