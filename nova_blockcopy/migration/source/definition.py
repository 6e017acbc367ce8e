# SPDX-License-Identifier: Apache-2.0
"""The persistent definition of a guest on the source."""

from collections.abc import Collection

from nova_blockcopy import domxml
from nova_blockcopy.host import hypervisor


def restore(
    guest: hypervisor.Guest, before: str, disks: Collection[str]
) -> None:
    """Define a guest with the disks of the time before the migration.

    :param before: the guest's old definition; empty if the guest is transient
    :param disks: the targets of the disks to restore
    :raises HypervisorError: libvirt does not define the guest
    """
    if not before:
        return
    present = guest.persistent_xml()
    wanted = domxml.restore_disks(present or before, before, disks)
    if present is None or domxml.disks(present) != domxml.disks(wanted):
        guest.define(wanted)
