# SPDX-License-Identifier: Apache-2.0
"""The facts about one migration that this host can see now.

Nothing is changed, and no other host is asked. Trust these facts more than
any journal.
"""

import contextlib
import dataclasses
import socket

import psutil

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.cli import site
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import servers
from nova_blockcopy.migration.source import reboot
from nova_blockcopy.records import journal

#: Where a disk of the guest is.
SOURCE, DELTA, EXPORT, BASE, ELSEWHERE = (
    *('source image', 'delta', 'export', 'base', 'another image'),
)

#: Seconds to wait for a connection to an export.
_PATIENCE = 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The guest and the exports of one migration, as this host sees them.

    ``power`` is the state of the guest on this host; None if libvirt does not
    answer, and then ``trouble`` says why. ``places`` tells for each disk that
    moves which image the guest uses, or would use when it starts; it is empty
    if the guest is not defined here. ``exports`` tells for each export whether
    its server runs, and ``clients`` whether somebody is connected to one of
    them. ``rebooted`` tells whether the source was rebooted since the
    migration began; None on the destination, which cannot know that.
    ``served`` tells whether an export that the guest here uses can be reached.
    """

    power: hypervisor.Power | None
    trouble: str = ''
    places: dict[str, str] = dataclasses.field(default_factory=dict)
    exports: dict[str, bool] = dataclasses.field(default_factory=dict)
    clients: bool = False
    rebooted: bool | None = None
    served: bool = False


def look(at: site.Site, record: journal.Record) -> Facts:
    """Look at the guest and at the exports of a migration."""
    power, trouble, places, served = None, '', {}, False
    try:
        guest = at.here.find(record.guest)
        power = guest.power() if guest else hypervisor.Power.OFF
        if guest is not None:
            disks = _disks(guest)
            places = _places(disks, record)
            served = any(map(_can_be_reached, disks.values()))
    except exception.HypervisorError as e:
        trouble = str(e)
    source = record.role is model.Role.SOURCE
    return Facts(
        power=power,
        trouble=trouble,
        places=places,
        exports={
            each.name: servers.seen(each.name) for each in record.exports
        },
        clients=any(map(_has_clients, record.exports)),
        rebooted=reboot.happened(record) if source else None,
        served=served,
    )


def _disks(guest: hypervisor.Guest) -> dict[str, model.Disk]:
    off = guest.power() is hypervisor.Power.OFF
    xml = guest.persistent_xml() if off else guest.running_xml()
    return domxml.disks(xml) if xml else {}


def _places(
    disks: dict[str, model.Disk], record: journal.Record
) -> dict[str, str]:
    return {
        move.disk: _place(disks[move.disk], move, record.role)
        for move in record.moves
        if move.disk in disks
    }


def _can_be_reached(disk: model.Disk) -> bool:
    source = disk.source
    if not isinstance(source, model.NetworkSource):
        return False
    address = (source.address, source.port)
    try:
        with socket.create_connection(address, timeout=_PATIENCE):
            return True
    except OSError:
        return False


def _place(disk: model.Disk, move: model.Move, role: model.Role) -> str:
    if isinstance(disk.source, model.NetworkSource):
        return EXPORT
    # the paths of both hosts may be the same
    if role is model.Role.DESTINATION:
        return BASE if disk.top_path == move.base.path else ELSEWHERE
    if disk.top_path == move.source.path:
        return SOURCE
    return DELTA if disk.top_path in move.deltas else ELSEWHERE


def _has_clients(served: model.Export) -> bool:
    with contextlib.suppress(psutil.AccessDenied):
        return any(
            each.laddr
            and each.laddr.port == served.port
            and each.status == psutil.CONN_ESTABLISHED
            for each in psutil.net_connections('tcp')
        )
    return False
