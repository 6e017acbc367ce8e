# SPDX-License-Identifier: Apache-2.0
"""The bases of an instance on the destination.

Nova makes the bases that are files. This module asks Nova's LVM code for
those that are volumes.
"""

import os
from typing import Any

from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.nova import compat


def is_volume(path: str) -> bool:
    """Whether a disk in Nova's disk info is an LVM volume.

    :param path: of the disk, on either host
    """
    return compat.CONF.libvirt.images_type == 'lvm' and path.startswith(
        '/dev/'
    )


def create_volume(path: str, size_bytes: int) -> None:
    """Create the volume for a disk, in the volume group of this host.

    :param path: of the disk on the source; the volume gets the same name
    :raises DestinationDiskExists: the group has a volume of this name
    """
    group = compat.CONF.libvirt.images_volume_group
    name = os.path.basename(path)
    if name in compat.list_volumes(group):
        raise compat.DestinationDiskExists(path=volume_path(path))
    compat.create_volume(group, name, size_bytes)


def volume_path(path: str) -> str:
    """The path of the volume on this host.

    :param path: of the disk on the source
    """
    group = compat.CONF.libvirt.images_volume_group
    return f'/dev/{group}/{os.path.basename(path)}'


def request(
    info: dict[str, Any], instance_directory: str
) -> model.BaseRequest:
    """The base for one disk.

    :param info: the disk's entry in Nova's disk info
    :param instance_directory: the instance's, on this host
    :raises ValueError: the engine does not know the disk's format
    """
    path = (
        volume_path(info['path'])
        if is_volume(info['path'])
        else os.path.join(instance_directory, os.path.basename(info['path']))
    )
    return model.BaseRequest(
        path=path,
        format=model.ImageFormat(info['type']),
        whole=is_made_here(info),
    )


def is_made_here(info: dict[str, Any]) -> bool:
    """Whether each host makes the backing file of a disk by itself.

    :param info: the disk's entry in Nova's disk info
    """
    return plan.is_name_of_made(info['backing_file'] or '')


def left_to_nova(disks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of Nova's disk info for which Nova makes the files."""
    return [
        {**disk, 'backing_file': ''} if is_made_here(disk) else disk
        for disk in disks
        if not is_volume(disk['path'])
    ]
