# SPDX-License-Identifier: Apache-2.0
"""Exports: source images that qemu-nbd serves over NBD to the destination.

The servers run on the source. The guest may have the image open meanwhile.
Each server is a process that outlives this one and its unit, because the guest
depends on the server until the pivot.
"""

import dataclasses
import errno
import signal
import socket
from collections.abc import Iterable
from typing import Any

from nova_blockcopy import certificate
from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.host import access
from nova_blockcopy.host import command
from nova_blockcopy.host import confinement
from nova_blockcopy.host import container
from nova_blockcopy.host import header
from nova_blockcopy.host import images
from nova_blockcopy.host import qemu
from nova_blockcopy.host import scope
from nova_blockcopy.host import servers
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import privsep

LOG = logging.getLogger(__name__)

#: Connections to one server at a time. The guest needs one, and each worker
#: that seeds needs one. All others are for strangers, who hold a connection
#: without a certificate until QEMU drops them, after 10 s
#: (NBD_DEFAULT_HANDSHAKE_MAX_SECS in include/block/nbd.h). A server may have
#: 1024 files open by default.
_CLIENTS = 500


class Exporter:
    """Starts and ends the NBD servers of this host.

    :param settings: the address and ports of the servers, whether they use
        TLS, and the time limit for a start or an end
    """

    def __init__(self, settings: conf.Settings) -> None:
        self._settings = settings

    def start(
        self, planned: model.Export, image: model.Image, peer: str = ''
    ) -> model.Export:
        """Serve an image.

        :param planned: the export without an address. The name is no
            secret: qemu-nbd lists the name to each client that asks.
        :param peer: the name of the destination. With TLS the server accepts
            no other client, and does not start without a name.
        :returns: the export with address, port, size and server process
        :raises ExportError: no server could be started
        """
        wanted = self._settings
        try:
            if planned.content:
                size = images.size(image)
            elif planned.writable:
                size = container.extend(image, wanted.call_timeout)
            else:
                size = container.pad(image)
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
            pid = self._serve(export, image, peer)
            if pid is not None:
                return dataclasses.replace(export, pid=pid)
        raise exception.ExportError(
            path=image.path,
            reason=f'no port from {wanted.export_port_min} to '
            f'{wanted.export_port_max} is free at {wanted.export_address}; '
            f'widen [blockcopy] export_port_min and export_port_max.',
        )

    def revive(
        self, export: model.Export, image: model.Image, peer: str = ''
    ) -> model.Export:
        """Start a server that has ended again, at the same address and port.

        :param peer: as for :meth:`start`
        :returns: the export with the server process
        :raises ExportError: the server could not be started
        """
        if self.alive(export):
            return export
        LOG.warning(
            'The export of disk %s has ended; starting it again', export.disk
        )
        pid = self._serve(export, image, peer)
        if pid is None:
            raise exception.ExportError(
                path=image.path,
                reason=f'another program uses port {export.port}; end that '
                f'program.',
            )
        return dataclasses.replace(export, pid=pid)

    def stop(self, exports: Iterable[model.Export]) -> None:
        """End servers and wait until all have ended.

        A server that has ended already is no error. All servers get the
        signal together, because each takes a second or two to end.

        :raises ExportError: a server still runs when the time has passed
        """
        exports = tuple(exports)
        names = [export.name for export in exports]
        timeout = self._settings.call_timeout
        if not (
            servers.end(names, signal.SIGTERM, timeout)
            or servers.end(names, signal.SIGKILL, timeout)
        ):
            raise exception.ExportError(
                path=', '.join(export.disk for export in exports),
                reason='qemu-nbd still runs after SIGKILL; check whether the '
                'storage of the image hangs.',
            )

    def alive(self, export: model.Export) -> bool:
        """Tell whether the server of an export runs on this host."""
        return servers.find(export.name) is not None

    def _serve(
        self, export: model.Export, image: model.Image, peer: str
    ) -> int | None:
        """Start a server and return the pid; None if the port is taken.

        The server bypasses the page cache, because the guest's QEMU may
        write to the same image.
        """
        encryption = self._encryption(export, peer)
        try:
            _start(
                *(wire.pack(export), wire.pack(image), wire.pack(encryption)),
                self._settings.call_timeout,
            )
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                return None
            raise exception.ExportError(
                path=export.disk,
                reason=f'qemu-nbd cannot listen at {export.address} '
                f'({e.strerror}); set [blockcopy] export_address to an '
                f'address of this host.',
            ) from e
        except (command.CommandFailed, exception.ImageError) as e:
            raise exception.ExportError(
                path=export.disk,
                reason=f'{e} Check the image, the certificates and qemu-nbd.',
            ) from e
        pid = servers.find(export.name)
        if pid is None:
            raise exception.ExportError(
                path=export.disk,
                reason='qemu-nbd ended right after the start. See the log of '
                'nova-compute.',
            )
        _tell(export)
        return pid

    def _encryption(
        self, export: model.Export, peer: str
    ) -> model.Encryption | None:
        found = self._settings.encryption(
            model.Side.SERVER, tls=export.tls, peer=peer
        )
        if found is not None and not certificate.is_plain(found.client):
            # such a name would be a pattern, or would let everybody in
            raise exception.ExportError(
                path=export.disk,
                reason=f'no certificate can be for the destination "{peer}"; '
                f'give the destination a plain name.',
            )
        return found


def _tell(export: model.Export) -> None:
    where = (export.disk, export.port, export.address)
    if export.tls:
        LOG.debug('Disk %s is exported by TLS at port %d of %s', *where)
        return
    LOG.warning(
        'Disk %s is exported in clear text at port %d of %s: every program '
        'that can connect to this port can read and write the disk. To '
        'encrypt exports, set [blockcopy] export_tls on all hosts.',
        *where,
    )


def _files(
    export: model.Export,
    image: model.Image,
    encryption: model.Encryption | None,
) -> list[list[str]]:
    """Return the paths that the server opens to read, and to write, too."""
    layers = model.chain(image) if export.content else (image,)
    paths = [layer.path for layer in layers]
    keys = [*qemu.credential_files(encryption)] if encryption else []
    return [keys, paths] if export.writable else [[*paths, *keys], []]


@privsep.entrypoint
def _start(export: Any, image: Any, encryption: Any, timeout: int) -> None:
    """Start a server.

    :param export: a packed :class:`model.Export`
    :param image: a packed :class:`model.Image`
    :param encryption: a packed :class:`model.Encryption`; None for clear text
    :param timeout: seconds
    :raises OSError: the address or the port cannot be used
    :raises CommandFailed: qemu-nbd does not start
    :raises ImageError: a layer is no image that qemu-nbd may open
    """
    unpacked = access.unpack(export, model.Export)
    layers = access.unpack(image, model.Image)
    node = _node(layers, content=unpacked.content)
    tls = encryption and access.unpack(encryption, model.Encryption)
    if tls:
        access.certificates(tls.directory)
    with listen(unpacked.address, unpacked.port) as listener:
        command.serve(
            listener,
            *_argv(unpacked, qemu.options(node), tls),
            confined=confinement.of(*_files(unpacked, layers, tls)),
            prefix=scope.prefix(unpacked.name),
            timeout=timeout,
        )


def _node(image: model.Image, *, content: bool) -> qemu.Node:
    """Return the node to serve, whose layers qemu-nbd may open."""
    if content:
        header.require(header.layers(image))
        return qemu.content(image)
    # nothing is read through a header
    access.check(image.path)
    return qemu.top(image)


def listen(address: str, port: int) -> socket.socket:
    """Open a socket that listens at an address and port for an export.

    Connections inherit TCP_NODELAY from this socket. qemu-nbd sets
    TCP_NODELAY by itself only from QEMU 8.1 on (commit "nbd/server: Request
    TCP_NODELAY"). Without TCP_NODELAY, each small write of a guest waits
    40 ms for the client's delayed acknowledgement.

    :raises OSError: the address or the port cannot be used
    """
    family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
    listener = socket.create_server((address, port), family=family)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _argv(
    export: model.Export, node: str, encryption: model.Encryption | None
) -> tuple[str, ...]:
    tls = (
        (
            *('--object', qemu.credentials(encryption)),
            *('--object', qemu.authorization(encryption.client)),
            *('--tls-creds', qemu.TLS, '--tls-authz', qemu.AUTHORIZATION),
        )
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
