# SPDX-License-Identifier: Apache-2.0
"""The switchover: Nova's own migration of the memory, with our disks.

Nova makes the XML for the destination (interfaces, consoles, volumes, NUMA).
This module puts the exports into it, in place of the disks that move.
"""

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import libvirt

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import transplant

#: Nova's ``_live_migration_operation``, bound to all arguments but the guest
#: and its device names.
Operation = Callable[[Any, list[str]], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """Migrates the memory of one guest by Nova's own operation.

    ``disks`` are the targets of the disks that move. ``arrived`` is called
    as soon as the guest runs on the destination. Nova itself binds the ports
    at that time only if libvirt's event finds the job completed, which is a
    race; otherwise Nova binds them at the end, which may be hours later.
    """

    operation: Operation
    guest: Any
    disks: tuple[str, ...]
    arrived: Callable[[], None]

    def __call__(
        self, live_xml: str, _persistent_xml: str, cancelled: threading.Event
    ) -> None:
        """Migrate; Nova uses one XML for the live and the persistent guest.

        :raises SwitchoverError: libvirt did not migrate the guest
        :raises Aborted: somebody asked for an abort
        """
        travelling = TravellingGuest(self.guest, live_xml, self.disks)
        try:
            self.operation(travelling, [])
        except Exception as e:  # Nova's part can fail in any way it likes
            if cancelled.is_set():
                raise exception.Aborted(guest=self.guest.name) from e
            raise exception.SwitchoverError(
                guest=self.guest.name, reason=e
            ) from e
        self.arrived()


class TravellingGuest:
    """Nova's guest, whose ``migrate`` sends the exports in its XML.

    :param guest: Nova's ``Guest``
    :param xml: the domain with each moved disk at its export
    :param disks: the targets of the disks that move
    """

    def __init__(self, guest: Any, xml: str, disks: tuple[str, ...]) -> None:
        self._guest = guest
        self._xml = xml
        self._disks = disks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guest, name)

    def migrate(self, destination: str, **more: Any) -> None:
        """Migrate as ``Guest.migrate`` does.

        :raises SwitchoverError: a moved disk is not at its export in the XML
        """
        xml = transplant.restore_disks(
            more.pop('destination_xml'), self._xml, self._disks
        )
        self._check(xml)
        # libvirt looks at where the disks are now and knows of no exports
        flags = more.pop('flags', 0) | libvirt.VIR_MIGRATE_UNSAFE
        self._guest.migrate(
            destination, destination_xml=xml, flags=flags, **more
        )

    def _check(self, xml: str) -> None:
        """Pass if the guest cannot start on an empty base over there."""
        wanted, found = domxml.disks(self._xml), domxml.disks(xml)
        for disk in self._disks:
            if found.get(disk) != wanted[disk]:
                raise exception.SwitchoverError(
                    guest=domxml.guest_name(xml),
                    reason=f'disk {disk} does not point at its export in the '
                    f'XML for the destination. Report a bug.',
                )
