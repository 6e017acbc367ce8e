# SPDX-License-Identifier: Apache-2.0
"""The checks on the source: which guests and disks can leave this host."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

from nova_blockcopy import certificate
from nova_blockcopy import conf
from nova_blockcopy import domxml
from nova_blockcopy import drivers
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.host import boot
from nova_blockcopy.host import certificates
from nova_blockcopy.host import deltas
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import images
from nova_blockcopy.host import sight
from nova_blockcopy.migration import reservations
from nova_blockcopy.migration.source import disturbance
from nova_blockcopy.migration.source import exports
from nova_blockcopy.migration.source import offer as offers

#: A guest that its owner has paused arrives paused.
_MOVABLE = (hypervisor.Power.RUNNING, hypervisor.Power.PAUSED)


class Readiness:
    """The checks of one host as a source. They change nothing.

    :param here: this host's libvirt
    """

    def __init__(
        self, here: hypervisor.Hypervisor, settings: conf.Settings
    ) -> None:
        self.host = here.host
        self._here = here
        self._settings = settings

    def guest(self, guest: str) -> hypervisor.Guest:
        """Find a running or paused guest that may leave this host.

        :param guest: UUID or name
        :raises Refused: the guest does not run here, the host's libvirt or
            QEMU is too old, the copy driver is unknown, or the exports are not
            configured
        """
        for check in self.checks():
            check()
        found = self._here.guest(guest)
        self.check_power(found)
        return found

    def checks(self) -> tuple[Callable[[], object], ...]:
        """The checks of this host alone. Each raises its own reason."""
        return (
            lambda: plan.check_versions(self.host, self._here.versions()),
            # an undo merges deltas by the copy driver
            lambda: drivers.load(self._settings, self._here.connect),
            lambda: plan.check_encryption(
                self.host,
                tls=self._settings.export_tls,
                allow_plaintext=self._settings.allow_plaintext,
            ),
            lambda: certificates.check(
                self.host, self._settings, model.Side.SERVER
            ),
        )

    def check_power(self, guest: hypervisor.Guest) -> None:
        """Pass if a guest is in a state in which it can leave this host.

        :raises GuestNotRunning: it is not
        """
        power = guest.power()
        if power not in _MOVABLE:
            raise exception.GuestNotRunning(
                guest=guest.name, host=self.host, power=power
            )

    def peer(self, peer: str) -> None:
        """Pass if exports can be kept for one destination.

        :param peer: the destination, as in the journal
        :raises PeerUnnamed: no certificate can be for such a name
        """
        wanted, name = self._settings, exports.peer_name(peer)
        if wanted.export_tls and not (
            name and certificate.is_plain(wanted.client_name(name))
        ):
            raise exception.PeerUnnamed(host=self.host, peer=peer)

    def deltas(self) -> None:
        """Pass if deltas of one more guest can be put on this host.

        :raises NoRoom: too little is free, beside the other migrations
        :raises UnsafeDirectory: another user could replace ``delta_dir``
        :raises DeltaDirRefused: the file system has no direct I/O
        """
        directory = self._settings.delta_dir
        deltas.prepare(directory)
        reservations.Reservations(self._settings).check()
        deltas.check_direct(directory)

    def disks(self, guest: hypervisor.Guest) -> dict[str, model.Disk]:
        """All disks of a guest, by target."""
        return domxml.disks(guest.running_xml())

    def select(
        self,
        guest: hypervisor.Guest,
        bases: Iterable[str],
        shared: Mapping[str, str],
    ) -> plan.Selection:
        """Decide on each disk of a guest; see :func:`plan.select`.

        libvirt does not migrate a guest with jobs, snapshots or checkpoints
        (``qemuMigrationSrcIsAllowed``, src/qemu/qemu_migration.c).

        :raises GuestBusy: the guest has one of them
        :param bases: the disks that a base was made for
        :param shared: the disks that the destination reaches without a copy,
            each with the reason
        """
        seen = sight.look(guest)
        selection = plan.select(guest.name, seen.disks, tuple(bases), shared)
        for error in self.busy(guest, seen):
            raise error
        return selection

    def busy(
        self, guest: hypervisor.Guest, seen: sight.Sight
    ) -> Iterator[exception.GuestBusy]:
        """An error for each job and record with which a guest stays."""
        for reason in disturbance.busy(guest.name, seen):
            yield exception.GuestBusy(
                guest=guest.name, host=self.host, reason=reason
            )

    def offer(
        self,
        guest: hypervisor.Guest,
        selection: plan.Selection,
        bases: Mapping[str, model.BaseRequest],
        mode: model.Mode,
        home: model.Endpoint,
        *,
        xml: str,
    ) -> offers.Offer:
        """Describe the disks of a guest to the destination.

        Reads whole backing files, which may take minutes, if
        ``verify_backing`` is on.

        :param bases: the base of each disk to move
        :param home: how the destination's libvirt reaches this host
        :param xml: the domain that the destination is to check
        :raises DiskRefused: the image of a disk cannot be read or exported
        """
        return offers.Offer(
            source=self.host,
            boot=boot.current(),
            home=home,
            mode=mode,
            tls=self._settings.export_tls,
            bases=bases,
            disks=self.describe(guest, selection),
            selection=selection,
            xml=xml,
        )

    def describe(
        self, guest: hypervisor.Guest, selection: plan.Selection
    ) -> tuple[model.SourceDisk, ...]:
        """Describe the disks to move, for the check of their bases."""
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
                guest=guest.name,
                disk=disk.target,
                reason='it has no image. Name no base for it.',
            )
        try:
            described = model.SourceDisk(
                disk=disk.target,
                image=image,
                size_bytes=images.size(image),
                identity=images.identity(image.path),
                backing_digest=images.digest(image.backing)
                if self._settings.verify_backing
                else None,
                direct=disk.direct,
            )
            images.check_direct(image.path)  # its export needs that
        except exception.ImageError as e:
            raise exception.DiskRefused(
                guest=guest.name, disk=disk.target, reason=e
            ) from e
        return described
