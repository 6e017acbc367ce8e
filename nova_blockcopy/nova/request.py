# SPDX-License-Identifier: Apache-2.0
"""Nova's request for a live migration, as a request to the engine."""

import dataclasses
from collections.abc import Collection
from collections.abc import Mapping
from typing import Any

from nova_blockcopy import model
from nova_blockcopy.conf import nova as nova_options
from nova_blockcopy.migration.source import migration
from nova_blockcopy.migration.source import survey
from nova_blockcopy.nova import bases
from nova_blockcopy.nova import compat


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LiveMigrationRequest:
    """A live migration of one instance away from this host.

    ``guest`` is a UUID. ``dest`` is the destination's name in Nova.
    ``bases`` are by the path of the disk's image on this host. ``home`` is
    how the destination's libvirt reaches this host, ``destination`` the
    other way round. ``memo`` is for Nova's part after that of the engine.
    """

    guest: str
    dest: str
    bases: Mapping[str, model.BaseRequest]
    home: model.Endpoint
    destination: model.Endpoint
    memo: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def for_engine(self, disks: Mapping[str, model.Disk]) -> migration.Request:
        """The same for the engine, which knows disks by their targets.

        :param disks: all disks of the guest, by target
        """
        wanted = {
            target: base
            for target, disk in disks.items()
            if disk.device == 'disk'
            and (base := self.bases.get(disk.path or '')) is not None
        }
        return migration.Request(
            guest=self.guest,
            peer=self.dest,
            bases=wanted,
            home=self.home,
            destination=self.destination,
            shared=left_to_nova(disks, wanted),
            held=True,
            memo=self.memo,
        )


def local_disks(
    disks: Mapping[str, model.Disk], paths: Collection[str]
) -> list[str]:
    """The targets of the disks that move.

    :param disks: all disks of the guest, by target
    :param paths: of its local disks, as Nova knows them
    """
    return [
        target
        for target, disk in disks.items()
        if disk.path in paths and not disk.readonly
    ]


def choice(
    disks: Mapping[str, model.Disk], infos: Collection[dict[str, Any]]
) -> survey.Choice:
    """The disks that move, as Nova knows them.

    :param disks: all disks of the guest, by target
    :param infos: Nova's disk info of its local disks
    """
    moves = local_disks(disks, [info['path'] for info in infos])
    whole = {info['path'] for info in infos if bases.is_made_here(info)}
    return survey.Choice(
        moves=moves,
        whole=[target for target in moves if disks[target].path in whole],
        shared=left_to_nova(disks, moves),
    )


def left_to_nova(
    disks: Mapping[str, model.Disk], moves: Collection[str]
) -> dict[str, str]:
    """The disks that Nova connects by itself, mostly Cinder volumes.

    :param moves: the targets of the disks that move
    :returns: the reason why each does not move, by target
    """
    return {
        target: 'Nova takes care of it'
        for target, disk in disks.items()
        if target not in moves and not disk.readonly
    }


def destination_address(migrate_data: Any, dest: str) -> str:
    """The address of the destination's libvirt, as Nova finds it."""
    if 'target_connect_addr' in migrate_data:
        return str(migrate_data.target_connect_addr or dest)
    return dest


def own_address() -> str:
    """The address at which another host finds this host's libvirt."""
    return nova_options.own_address(compat.CONF)
