# SPDX-License-Identifier: Apache-2.0
"""The persistent definition of a guest on the source."""

from collections.abc import Iterable

from nova_blockcopy import domxml
from nova_blockcopy import model
from nova_blockcopy import transplant
from nova_blockcopy.host import hypervisor


def restore(
    guest: hypervisor.Guest, before: str, moves: Iterable[model.Move]
) -> None:
    """Define a guest with the images of the time before the migration.

    All else stays as it is defined now. A disk whose definition names no
    delta of the engine stays as it is, too: libvirt follows the layers that
    other programs put on top.

    :param before: the guest's old definition; empty if the guest is transient
    :raises HypervisorError: libvirt does not define the guest
    """
    if not before:
        return
    present = guest.persistent_xml()
    if present is None:
        guest.define(before)
        return
    disks = domxml.disks(present)
    stale = [
        move.disk
        for move in moves
        if move.disk in disks and disks[move.disk].path in move.deltas
    ]
    if stale:
        guest.define(transplant.restore_images(present, before, stale))
