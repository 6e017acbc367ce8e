# SPDX-License-Identifier: Apache-2.0
"""The exports of one migration. Each is in the journal before the start."""

import secrets
import urllib.parse

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import export
from nova_blockcopy.host import images
from nova_blockcopy.migration.source import ledger as ledgers
from nova_blockcopy.migration.source import reboot


class Exports:
    """Serves images of one guest to the destination. Runs on the source.

    :param exporter: starts and ends the servers of this host
    """

    def __init__(
        self, exporter: export.Exporter, ledger: ledgers.Ledger
    ) -> None:
        self._exporter = exporter
        self._ledger = ledger

    @property
    def _peer(self) -> str:
        return peer_name(self._ledger.record.peer)

    def serve(
        self,
        disk: str,
        image: model.Image,
        *,
        content: bool = False,
        writable: bool = False,
    ) -> model.Export:
        """Serve one image of a disk.

        :param content: serve the content that a guest sees, all layers
            together; else the bytes of the image's own file or device
        :param writable: let the destination write to the image
        :raises ExportError: no server could be started
        """
        others = self._ledger.record.exports
        # with the name, an undo finds a server whose start was interrupted
        planned = model.Export(
            disk=disk,
            address='',
            port=0,
            name=name(self._ledger.record.migration, disk),
            size_bytes=0,
            pid=0,
            content=content,
            writable=writable,
        )
        self._ledger.note(exports=(*others, planned))
        started = self._exporter.start(planned, image, self._peer)
        self._ledger.note(exports=(*others, started))
        return started

    def serve_disks(self) -> None:
        """Serve all images that the guest will read over the network."""
        for move in self._ledger.record.moves:
            self.serve(move.disk, move.top(), writable=True)
            below = move.below()
            if below is not None:
                self.serve(move.disk, below, content=True)

    def check_ends(self) -> None:
        """Check that no image has data beyond the end of its export.

        The guest must have left this host, so that the images grow no more.

        :raises ExportError: the destination reads zeroes in place of data
        """
        tops = self._tops()
        for each in self._ledger.record.exports:
            path = tops[each.disk].path
            if each.writable and images.length(path) > each.size_bytes:
                raise exception.ExportError(
                    path=path,
                    reason=f'the file has grown beyond the end of the export '
                    f'of {each.size_bytes} bytes, so the guest cannot read '
                    f'all of its data on the destination. Migrate the guest '
                    f'while it writes and discards less.',
                )

    def alive(self) -> bool:
        """Tell whether all servers run."""
        return all(map(self._exporter.alive, self._ledger.record.exports))

    def revive(self, export: model.Export, image: model.Image) -> model.Export:
        """Serve an image again, at the old address and port.

        :raises SourceRebooted: this host was rebooted meanwhile
        :raises ExportError: the server could not be started
        """
        reboot.check(self._ledger.record)
        return self._exporter.revive(export, image, self._peer)

    def revive_disks(self) -> None:
        """Serve the images of :meth:`serve_disks` again, as before.

        :raises SourceRebooted: this host was rebooted meanwhile
        :raises ExportError: a server could not be started
        """
        tops = self._tops()

        def revived(export: model.Export) -> model.Export:
            image = tops[export.disk]
            if not export.writable:
                assert image.backing is not None  # noqa: S101 - it was served
                image = image.backing
            return self.revive(export, image)

        self._ledger.note(
            note='exports',
            exports=tuple(map(revived, self._ledger.record.exports)),
        )

    def _tops(self) -> dict[str, model.Image]:
        return {move.disk: move.top() for move in self._ledger.record.moves}

    def stop(self) -> None:
        """End all servers. Can be done twice.

        :raises ExportError: a server still runs when the time has passed
        """
        self._exporter.stop(self._ledger.record.exports)

    def clear(self) -> None:
        """End all servers, and remove them from the journal.

        :raises ExportError: a server still runs when the time has passed
        """
        self.stop()
        self._ledger.note(exports=())


def name(migration: str, disk: str) -> str:
    """Make a name for an export that people can read, but not guess."""
    return f'{migration}-{disk}-{secrets.token_hex(16)}'


def peer_name(peer: str) -> str:
    """Return the name of a destination for the check of its certificate.

    :param peer: the destination in the journal of the source: a name, or the
        URI of its libvirt
    :returns: '' if the URI names no host
    """
    if '://' not in peer:
        return peer
    try:
        return urllib.parse.urlsplit(peer).hostname or ''
    except ValueError:  # such as a broken address in brackets
        return ''
