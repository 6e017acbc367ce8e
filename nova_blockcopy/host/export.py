# SPDX-License-Identifier: Apache-2.0
"""Serving source images over NBD, by qemu-nbd, while a guest has them open.

The server is a process of its own that outlives this one: until the pivot
the guest depends on it.
"""

import contextlib
import dataclasses
import errno
import os
import signal
import socket
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import psutil
from oslo_log import log as logging

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.host import command
from nova_blockcopy.host import images
from nova_blockcopy.host import qemu
from nova_blockcopy.runtime import privsep
from nova_blockcopy.runtime import waiting

LOG = logging.getLogger(__name__)

#: Connections at a time: the guest's, or those of all that seed it, and room
#: for some that are made again while the old ones are not known to be dead.
_CLIENTS = 20


class Exporter:
    """Starts and ends the NBD servers of this host.

    :param settings: where they listen, whether they encrypt and serve only
        clients with a certificate, and how long a start or an end may take
    """

    def __init__(self, settings: conf.Settings) -> None:
        self._settings = settings

    def start(self, planned: model.Export, image: model.Image) -> model.Export:
        """Serve an image.

        :param planned: of which disk, in which way, and under what name; the
            name is for the client and for people, and no secret, as qemu-nbd
            tells it to whoever asks
        :returns: the same, with where it is served
        :raises ExportError: no server could be started
        """
        wanted = self._settings
        try:
            if planned.content:
                size = images.size(image)
            elif planned.writable:
                size = images.extend_for_export(image, wanted.call_timeout)
            else:
                size = images.length(image.path)
        except exception.BlockCopyError as e:
            raise exception.ExportError(path=image.path, reason=e) from e
        for port in range(wanted.export_port_min, wanted.export_port_max + 1):
            export = dataclasses.replace(
                planned,
                address=wanted.export_address,
                port=port,
                size_bytes=size,
                tls=wanted.export_tls,
            )
            pid = self._serve(export, image)
            if pid is not None:
                LOG.info('Export of disk %s is at port %d', export.disk, port)
                return dataclasses.replace(export, pid=pid)
        raise exception.ExportError(
            path=image.path,
            reason=f'no port from {wanted.export_port_min} to '
            f'{wanted.export_port_max} is free at {wanted.export_address}; '
            f'widen [blockcopy] export_port_min and export_port_max.',
        )

    def revive(self, export: model.Export, image: model.Image) -> model.Export:
        """Start a dead server again where its client looks for it."""
        if self.alive(export):
            return export
        LOG.warning('The export of disk %s was dead', export.disk)
        pid = self._serve(export, image)
        if pid is None:
            raise exception.ExportError(
                path=image.path,
                reason=f'its port {export.port} was taken by another program.',
            )
        return dataclasses.replace(export, pid=pid)

    def stop(self, exports: Iterable[model.Export]) -> None:
        """End servers and wait until all are gone; done twice is once.

        They end together, as each takes a second or two to do so.

        :raises ExportError: one is still there when the time has passed
        """
        exports = tuple(exports)
        names = [export.name for export in exports]
        timeout = self._settings.call_timeout
        if not (
            _end(names, signal.SIGTERM, timeout)
            or _end(names, signal.SIGKILL, timeout)
        ):
            raise exception.ExportError(
                path=', '.join(export.disk for export in exports),
                reason='its server cannot be ended, not even by SIGKILL.',
            )

    def alive(self, export: model.Export) -> bool:
        return _server(export.name) is not None

    def _serve(self, export: model.Export, image: model.Image) -> int | None:
        """Start a server; None if its port is taken.

        Nothing may be cached here that the guest writes there, so the page
        cache is left out.
        """
        node = qemu.content(image) if export.content else qemu.top(image)
        encryption = self._settings.encryption(
            model.Side.SERVER, tls=export.tls
        )
        try:
            _start(
                *(wire.pack(export), qemu.options(node)),
                *(wire.pack(encryption), self._settings.call_timeout),
            )
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                return None
            raise exception.ExportError(
                path=export.disk,
                reason=f'cannot listen at [blockcopy] export_address '
                f'{export.address} ({e.strerror}).',
            ) from e
        except command.CommandFailed as e:
            raise exception.ExportError(path=export.disk, reason=e) from e
        pid = _server(export.name)
        if pid is None:
            raise exception.ExportError(
                path=export.disk, reason='its server ended at once.'
            )
        return pid


@privsep.entrypoint
def _start(export: Any, node: str, encryption: Any, timeout: int) -> None:
    """Start a server.

    :param export: packed
    :param node: what QEMU is to open
    :param encryption: packed; None for clear text
    :raises OSError: it cannot listen
    :raises CommandFailed: it does not start
    """
    what = wire.unpack(export, model.Export)
    tls = encryption and wire.unpack(encryption, model.Encryption)
    with _listener(what) as listener:
        command.serve(listener, *_argv(what, node, tls), timeout=timeout)


def check_certificates(host: str, encryption: model.Encryption) -> None:
    """Pass if there are certificates; what is in them, QEMU checks.

    :param host: this host's name, for the message
    :raises CertificateError: one cannot be read
    """
    side = encryption.side.value
    for name in ('ca-cert.pem', f'{side}-cert.pem', f'{side}-key.pem'):
        _check_readable(host, os.path.join(encryption.directory, name))


@privsep.entrypoint
def _check_readable(host: str, path: str) -> None:
    try:
        open(path, 'rb').close()
    except OSError as e:
        raise exception.CertificateError(
            host=host, path=path, reason=e.strerror
        ) from e


@privsep.entrypoint
def _server(name: str) -> int | None:
    """The process that serves an export."""
    return next((process.pid for process in _processes(name)), None)


@privsep.entrypoint
def _end(names: Sequence[str], number: int, timeout: int) -> bool:
    """Send a signal to servers; tell whether that has ended them."""
    servers = [process for name in names for process in _processes(name)]
    for process in servers:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    return waiting.until(lambda: not any(map(_runs, servers)), timeout=timeout)


def _processes(name: str) -> Iterator[psutil.Process]:
    """Servers, found by their export's name: a pid can be reused."""
    for process in psutil.process_iter():
        try:
            if process.name() == 'qemu-nbd' and name in process.cmdline():
                yield process
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue


def _runs(process: psutil.Process) -> bool:
    """Whether it still has its files open; a zombie has closed them."""
    try:
        return bool(
            process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False


def _listener(export: model.Export) -> socket.socket:
    """Listen where an export is to be.

    Connections inherit TCP_NODELAY. qemu-nbd asks for it only from 8.1 on;
    before, each small write of a guest waits 40 ms for the other side's
    delayed acknowledgement ("nbd/server: Request TCP_NODELAY" in QEMU).
    """
    family = socket.getaddrinfo(
        export.address, export.port, type=socket.SOCK_STREAM
    )[0][0]
    listener = socket.create_server(
        (export.address, export.port), family=family
    )
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _argv(
    export: model.Export, node: str, encryption: model.Encryption | None
) -> tuple[str, ...]:
    tls = (
        ('--object', qemu.credentials(encryption), '--tls-creds', qemu.TLS)
        if encryption
        else ()
    )
    return (
        *('qemu-nbd', '--fork'),
        *('--persistent', '--shared', str(_CLIENTS)),
        *('--export-name', export.name),
        *('--cache', 'none', '--discard', 'unmap'),
        *(() if export.writable else ('--read-only',)),
        *tls,
        *('--image-opts', node),
    )
