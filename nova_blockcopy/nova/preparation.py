# SPDX-License-Identifier: Apache-2.0
"""The bases that a destination makes before the engine begins.

Nova prepares the destination before the engine sends its first message. The
destination has no journal of the guest until then. Only this module, and its
note in ``records.expected``, say that the new disks of the instance are
empty.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.nova import bases
from nova_blockcopy.nova import kept
from nova_blockcopy.nova import messages
from nova_blockcopy.records import expected

Bases = dict[str, model.BaseRequest]


class Preparations:
    """The preparations of one host. Runs on the destination.

    :param notes: the guests that this host has bases for, on disk
    :param kept_bases: those of earlier attempts
    """

    def __init__(
        self, notes: expected.Expected, kept_bases: kept.Kept
    ) -> None:
        self._expected = notes
        self._kept = kept_bases
        #: The bases of each guest, by UUID, that Nova prepares for just now.
        self._bases: dict[str, Bases] = {}
        #: The source of each guest, and the paths of its bases, also after
        #: the journal has taken the place of the note.
        self._admitted: dict[str, tuple[str, frozenset[str]]] = {}

    @contextlib.contextmanager
    def begun(self, guest: str) -> Iterator[None]:
        """While Nova prepares this host for a guest.

        :param guest: UUID
        """
        self._bases[guest] = {}
        try:
            yield
        finally:
            del self._bases[guest]

    def under_way(self, guest: str) -> bool:
        """Whether Nova prepares this host for a guest just now."""
        return guest in self._bases

    def bases(self, guest: str) -> Bases:
        """The bases made so far, by the disk's path on the source."""
        return self._bases[guest]

    def make_bases(
        self, instance: Any, directory: str, disks: list[dict[str, Any]]
    ) -> None:
        """Make the bases that are volumes, and adopt those that are kept.

        :param directory: the instance's, on this host
        :param disks: Nova's disk info of the local disks
        :raises DestinationDiskExists: a volume exists
        """
        made = {disk['path']: bases.request(disk, directory) for disk in disks}
        self._bases[instance.uuid] = made
        paths = frozenset(base.path for base in made.values())
        self._admitted[instance.uuid] = (instance.host, paths)
        self._expected.note(instance.uuid, instance.host, sorted(paths))
        adopted = self._kept.adopt(
            instance.uuid,
            {
                made[disk['path']].path: (
                    made[disk['path']].format,
                    disk['virt_disk_size'],
                )
                for disk in disks
            },
        )
        for disk in disks:
            path = disk['path']
            if bases.is_volume(path) and made[path].path not in adopted:
                bases.create_volume(path, disk['virt_disk_size'])

    def is_expected(self, guest: str, source: str) -> bool:
        """Whether this host has bases for a guest of that host.

        :param source: the host's name in Nova
        :raises PeerError: Nova is still making them
        """
        if self.under_way(guest):
            raise exception.PeerError(
                operation=messages.EXPECTED,
                reason='Nova is still making the bases of this guest.',
            )
        return self._expected.find(guest) == source

    def admitted(self, guest: str, source: str) -> frozenset[str]:
        """The paths of the bases that were made for a guest of a host.

        :param guest: UUID
        :param source: the host's name in Nova
        :returns: empty if the guest is not expected from that host
        """
        host, paths = self._admitted.get(guest) or self._expected.bases(guest)
        return paths if host == source else frozenset()

    def arrived(self, guest: str) -> None:
        """Forget which bases a guest may have, because it uses them now.

        :param guest: UUID
        """
        self._admitted.pop(guest, None)

    def forget(self, guest: str) -> None:
        """Forget the bases of a guest, which Nova has removed.

        :param guest: UUID
        """
        self._admitted.pop(guest, None)
        self._expected.forget(guest)
