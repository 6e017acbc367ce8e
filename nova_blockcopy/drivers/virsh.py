# SPDX-License-Identifier: Apache-2.0
"""Copy driver that runs the ``virsh`` command, a process for each call."""

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

#: Text of VIR_ERR_BLOCK_COPY_ACTIVE (qemuDomainBlockJobPivot in libvirt's
#: src/qemu/qemu_driver.c); virsh does not print error codes.
_NOT_READY = 'not ready for pivot yet'
_FIGURE = re.compile(r'^ (?P<name>[a-z]+)=(?P<value>.*)$', re.MULTILINE)


class VirshCopyDriver(contract.CopyDriver):
    """``virsh blockcopy`` and ``virsh blockjob`` by argument lists.

    Never with ``--wait``, ``--pivot`` or ``--timeout`` of blockcopy: they
    would abort or leave jobs by virsh's own judgement.
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
        self, guest: str, disk: str, into: model.Image, bytes_per_s: int
    ) -> None:
        limit = ['--bandwidth', *_bandwidth(bytes_per_s)]
        self._virsh(
            'start a commit',
            disk,
            *('blockcommit', guest, disk, '--base', into.path, '--active'),
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
            'look at a copy', disk, 'blockjob', guest, disk, '--raw', '--bytes'
        )
        try:
            return job_info(printed)
        except ValueError as e:
            raise exception.DriverError(
                action='look at a copy', disk=disk, reason=e
            ) from e

    def _domain_xml(self, guest: str) -> str:
        return self._virsh('read the domain', '-', 'dumpxml', guest)

    def _virsh(self, action: str, disk: str, *arguments: str) -> str:
        timeout = self._access.timeout
        try:
            return command.run(
                *('virsh', '--quiet', '--connect', self._access.uri),
                *arguments,
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
    """Read what ``virsh blockjob --raw --bytes`` prints; '' is no job.

    :raises ValueError: it prints something else
    """
    if not printed.strip():
        return None
    figures = {m['name']: m['value'] for m in _FIGURE.finditer(printed)}
    try:
        return contract.JobInfo(
            processed=int(figures['cur']),
            total=int(figures['end']),
            bandwidth=int(figures['bandwidth']),
        )
    except KeyError as e:
        raise ValueError(f'virsh printed no {e}: {printed!r}') from e


@contextlib.contextmanager
def _destination(base: model.Image) -> Iterator[list[str]]:
    """Arguments that name the base.

    ``--dest`` can express an image of one layer; a raw one has no header
    that could be followed. Anything else goes by ``--xml``.
    """
    if base.format is model.ImageFormat.RAW:
        yield ['--dest', base.path]
        return
    with tempfile.NamedTemporaryFile('w', suffix='.xml') as f:
        f.write(domxml.copy_destination(base))
        f.flush()
        yield ['--xml', f.name]


def _copy(base: model.Image, settings: model.CopySettings) -> list[str]:
    """The rest of the arguments; a figure of 0 is the default, left out."""
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
    # else a persistent domain is refused: "domain is not transient"
    return [*arguments, '--transient-job']


def _bandwidth(bytes_per_s: int) -> list[str]:
    mib, rest = divmod(bytes_per_s, bandwidth.MIB)
    return [str(bytes_per_s), '--bytes'] if rest else [str(mib)]
