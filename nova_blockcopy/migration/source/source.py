# SPDX-License-Identifier: Apache-2.0
"""The source's side: what is there to move, exports, switchover, release."""

import os
import secrets
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping

from oslo_log import log as logging

from nova_blockcopy import conf
from nova_blockcopy import domxml
from nova_blockcopy import drivers
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.host import deltas
from nova_blockcopy.host import export
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import images
from nova_blockcopy.migration.source import merge

LOG = logging.getLogger(__name__)

#: Caches that libvirt takes for safe without the unsafe flag
#: (qemuMigrationSrcIsSafe, src/qemu/qemu_migration.c).
_COHERENT = ('none', 'directsync')


class Source:
    """One host's readiness to give guests away.

    :param here: this host's hypervisor
    """

    def __init__(
        self, here: hypervisor.Hypervisor, settings: conf.Settings
    ) -> None:
        self.host = here.host
        self._here = here
        self._settings = settings
        self.exporter = export.Exporter(settings)

    def guest(self, guest: str) -> hypervisor.Guest:
        """Find a running guest.

        :raises Refused: it is not there, or does not run
        """
        plan.check_versions(self.host, self._here.versions())
        self._check_encryption()
        found = self._here.guest(guest)
        if found.power() is not hypervisor.Power.RUNNING:
            raise exception.GuestNotRunning(guest=guest, host=self.host)
        return found

    def _check_encryption(self) -> None:
        wanted = self._settings
        plan.check_encryption(
            self.host,
            tls=wanted.export_tls,
            allow_plaintext=wanted.allow_plaintext,
        )
        if wanted.export_tls:
            export.check_certificates(
                self.host, wanted.export_tls_dir, 'server'
            )

    def disks(self, guest: hypervisor.Guest) -> dict[str, model.Disk]:
        """All disks of a guest, by target."""
        return domxml.disks(guest.running_xml())

    def select(
        self,
        guest: hypervisor.Guest,
        bases: Iterable[str],
        shared: Mapping[str, str],
    ) -> plan.Selection:
        return plan.select(guest.name, self.disks(guest), tuple(bases), shared)

    def describe(
        self, guest: hypervisor.Guest, selection: plan.Selection
    ) -> tuple[model.SourceDisk, ...]:
        """Tell the destination what its bases have to be like."""
        disks = self.disks(guest)
        return tuple(
            self._describe(guest, disks[target]) for target in selection.moves
        )

    def _describe(
        self, guest: hypervisor.Guest, disk: model.Disk
    ) -> model.SourceDisk:
        image = disk.source
        if not isinstance(image, model.Image):
            raise exception.DiskRefused(
                guest=guest.name, disk=disk.target, reason='it has no image.'
            )
        try:
            return model.SourceDisk(
                disk=disk.target,
                image=image,
                size_bytes=images.size(image),
                identity=images.identity(image.path),
                backing_digest=images.digest(image.backing)
                if self._settings.verify_backing
                else None,
            )
        except exception.ImageError as e:
            raise exception.DiskRefused(
                guest=guest.name, disk=disk.target, reason=e
            ) from e

    def freeze(
        self, guest: hypervisor.Guest, moves: tuple[model.Move, ...]
    ) -> None:
        """Have a guest write to the last delta of each move, all at once.

        :raises BlockCopyError: it does not
        """
        timeout = self._settings.call_timeout
        self.check_room()
        for move in moves:
            deltas.create(move.top(), move.size_bytes, timeout)
        guest.snapshot(domxml.freeze(guest.running_xml(), moves))
        disks = domxml.disks(guest.running_xml())
        for move in moves:
            if not domxml.at_image(disks[move.disk], move.top()):
                raise exception.DriverError(
                    action='freeze',
                    disk=move.disk,
                    reason=f'the guest does not use {move.deltas[-1]}.',
                )

    def check_room(self) -> None:
        """Pass if what guests write to deltas has room.

        :raises ImageError: it has not
        """
        deltas.check_room(
            self._settings.delta_dir, self._settings.delta_min_free
        )

    def merge(
        self,
        guest: hypervisor.Guest,
        moves: tuple[model.Move, ...],
        definition: str,
    ) -> None:
        """Put a guest back on its disks, with all that it has written.

        :param definition: from before it was frozen; empty if transient
        :raises BlockCopyError: it is not; its deltas stay
        """
        frozen = tuple(move for move in moves if move.deltas)
        driver = drivers.load(self._settings, self._here.connect)
        merge.merge(guest, driver, self._settings, frozen)
        self.restore_definition(
            guest, definition, [move.disk for move in frozen]
        )
        guest.wake()  # a delta had no room
        self.drop(moves)

    def restore_definition(
        self, guest: hypervisor.Guest, definition: str, disks: Collection[str]
    ) -> None:
        """Have a guest be defined here with the disks it had.

        :param definition: from before; empty if it is transient
        """
        if not definition:
            return
        known = self._here.find(guest.uuid)
        present = known.persistent_xml() if known else None
        wanted = domxml.restore_disks(present or definition, definition, disks)
        if present is None or domxml.disks(present) != domxml.disks(wanted):
            guest.define(wanted)

    def drop(self, moves: tuple[model.Move, ...]) -> None:
        """Remove deltas that nothing depends on any more."""
        deltas.remove([path for move in moves for path in move.deltas])


def export_name(migration: str, disk: str) -> str:
    """A name that tells a person what it is, and that cannot be guessed."""
    return f'{migration}-{disk}-{secrets.token_hex(16)}'


def needs_unsafe(
    disks: Mapping[str, model.Disk], moves: tuple[model.Move, ...]
) -> bool:
    """Whether libvirt would take these moves for unsafe.

    It takes block devices for shared storage and local files for lost.
    Neither judgement is of use: what is moved is read through an export.
    """
    return any(
        move.top().kind is model.ImageKind.FILE
        or disks[move.disk].cache not in _COHERENT
        for move in moves
    )


def delta_path(directory: str, migration: str, move: model.Move) -> str:
    """Where the writes of a disk go that is frozen once more."""
    name = f'{migration}-{move.disk}.{len(move.deltas)}.qcow2'
    return os.path.join(directory, name)


def check_exported(
    xml: str,
    moves: tuple[model.Move, ...],
    exports: Mapping[str, tuple[model.Export, ...]],
) -> None:
    """Pass if every moved disk of a domain is read from its exports.

    The last look before a switchover: libvirt takes a block device for
    shared storage, so a guest would be resumed on an empty base.

    :raises SwitchoverError: one is not
    """
    disks = domxml.disks(xml)
    for move in moves:
        disk = disks.get(move.disk)
        if disk is None or not domxml.at_exports(
            disk, move, exports[move.disk]
        ):
            raise exception.SwitchoverError(
                guest=domxml.guest_name(xml),
                reason=f'disk {move.disk} does not point at its exports in '
                f'the XML for the destination.',
            )
