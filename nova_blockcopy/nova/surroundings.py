# SPDX-License-Identifier: Apache-2.0
"""The room for an instance on this host, as Nova would use it.

Nova makes no base before its own checks are over. So this module tells where
Nova would make the bases, and looks there.
"""

import os
from collections.abc import Callable
from collections.abc import Iterator

from nova_blockcopy import appraisal
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import usage
from nova_blockcopy.migration.destination import surroundings
from nova_blockcopy.nova import bases
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import kept
from nova_blockcopy.nova import request

Needs = tuple[appraisal.Need, ...]


class Surroundings:
    """The storage of one compute host. Runs on the destination.

    :param kept_bases: those of earlier attempts, which Nova uses again
    :param check_volumes: raises an error if a volume cannot be a base
    """

    def __init__(
        self, kept_bases: kept.Kept, check_volumes: Callable[[], None]
    ) -> None:
        self._kept = kept_bases
        self._check_volumes = check_volumes

    def address(self) -> str:
        """Return the address of this host's libvirt."""
        return request.own_address()

    def survey(self, guest: str, needs: Needs) -> surroundings.Found:
        """Look where Nova would make the bases of an instance.

        :param guest: UUID
        """
        volumes = tuple(need for need in needs if _is_volume(need))
        files = tuple(need for need in needs if need not in volumes)
        rooms, refusals = [], list(_left(guest))
        if compat.CONF.libvirt.images_type == 'lvm':
            refusals += self._against_volumes()
            known = self._kept.volumes(guest)
            made = [
                need
                for need in volumes
                if bases.volume_path(need.path) not in known
            ]
            try:
                rooms.append(_room_of_volumes(made))
                refusals += _existing(made)
            except Exception as e:  # of LVM's programs, by Nova
                refusals.append(_unreadable(e))
        if files:
            rooms += _room_of_files(files)
        return surroundings.Found(rooms=tuple(rooms), refusals=tuple(refusals))

    def _against_volumes(self) -> list[str]:
        try:
            self._check_volumes()
        except exception.BlockCopyError as e:
            return [str(e)]
        return []


def _is_volume(need: appraisal.Need) -> bool:
    return need.kind is model.ImageKind.BLOCK and bases.is_volume(need.path)


def _left(guest: str) -> Iterator[str]:
    """Say that Nova could not make the directory of an instance."""
    directory = os.path.join(compat.CONF.instances_path, guest)
    if os.path.exists(directory):
        yield (
            f'{directory} already exists on {compat.CONF.host}. Find out what '
            f'it is, and remove it. If both hosts share instances_path, Nova '
            f'migrates the instance without nova-blockcopy.'
        )


def _room_of_volumes(needs: list[appraisal.Need]) -> appraisal.Room:
    group = str(compat.CONF.libvirt.images_volume_group)
    wanted = sum(need.size_bytes for need in needs)
    return appraisal.Room(
        purpose='the bases',
        place=f'volume group {group}',
        free_bytes=int(compat.volume_group_info(group)['free']),
        needed_bytes=wanted,
        most_bytes=wanted,
    )


def _existing(needs: list[appraisal.Need]) -> Iterator[str]:
    known = compat.list_volumes(compat.CONF.libvirt.images_volume_group)
    for need in needs:
        if os.path.basename(need.path) in known:
            yield (
                f'{bases.volume_path(need.path)} already exists on '
                f'{compat.CONF.host}. Find out what it is, and remove it.'
            )


def _unreadable(error: Exception) -> str:
    return (
        f'The volume group {compat.CONF.libvirt.images_volume_group} of '
        f'{compat.CONF.host} cannot be read ({error}). Check [libvirt] '
        f'images_volume_group there.'
    )


def _room_of_files(needs: Needs) -> Iterator[appraisal.Room]:
    place = str(compat.CONF.instances_path)
    free = usage.free(place)
    if free is not None:
        yield appraisal.Room(
            purpose='the bases',
            place=place,
            free_bytes=free,
            needed_bytes=sum(need.travel_bytes for need in needs),
            most_bytes=sum(need.size_bytes for need in needs),
        )
