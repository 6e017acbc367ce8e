# SPDX-License-Identifier: Apache-2.0
"""Bases on this host for an instance that is to come: by Nova's own code."""

import os
from typing import Any

from nova_blockcopy import model
from nova_blockcopy.nova import compat


def is_volume(path: str) -> bool:
    """Whether a disk that Nova tells of is an LVM volume."""
    return compat.CONF.libvirt.images_type == 'lvm' and path.startswith(
        '/dev/'
    )


def create_volume(path: str, size_bytes: int) -> None:
    """Create a volume for a disk, of its name, in this host's own group.

    :raises DestinationDiskExists: there is one of this name
    """
    group = compat.CONF.libvirt.images_volume_group
    name = os.path.basename(path)
    if name in compat.list_volumes(group):
        raise compat.DestinationDiskExists(path=volume_path(path))
    compat.create_volume(group, name, size_bytes)


def volume_path(path: str) -> str:
    """Where the volume for a disk of another host is on this one."""
    group = compat.CONF.libvirt.images_volume_group
    return f'/dev/{group}/{os.path.basename(path)}'


def request(
    info: dict[str, Any], instance_directory: str
) -> model.BaseRequest:
    """The base for one entry of Nova's disk info."""
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

    Nova formats that of an ephemeral disk or a swap disk on each host anew,
    with identifiers of its own, so no two are alike, and a guest's layer on
    top of another host's would be damaged. Such a disk moves as a whole.
    """
    name = os.path.basename(info['backing_file'] or '')
    return name.startswith(('ephemeral', 'swap'))


def left_to_nova(disks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of Nova's disk info for which Nova makes the files."""
    return [
        {**disk, 'backing_file': ''} if is_made_here(disk) else disk
        for disk in disks
        if not is_volume(disk['path'])
    ]
