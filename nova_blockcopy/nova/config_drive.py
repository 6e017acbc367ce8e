# SPDX-License-Identifier: Apache-2.0
"""The config drive, which goes to the destination as a message.

A guest only reads its config drive, so libvirt does not copy it. Nova since
2024.2 leaves an empty file of its size on the destination.
"""

import base64
import os
from collections.abc import Iterable

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.nova import compat

#: Nova's name for it in the instance's directory.
_NAME = 'disk.config'


def find(disks: Iterable[model.Disk]) -> str | None:
    """The path of the config drive among a guest's disks, if it has one."""
    for disk in disks:
        path = disk.path or ''
        if disk.readonly and os.path.basename(path) == _NAME:
            return path
    return None


def pack(path: str) -> str:
    """The content of a config drive of this host, as text."""
    with open(path, 'rb') as f:
        return base64.b64encode(f.read()).decode()


def write(instance: str, content: str) -> None:
    """Fill the config drive that Nova has left empty on this host.

    :param instance: UUID
    :param content: as ``pack`` returned it
    :raises PeerError: Nova has made no file for it
    """
    path = os.path.join(
        compat.CONF.instances_path, os.path.basename(instance), _NAME
    )
    try:
        with open(path, 'r+b') as f:
            f.write(base64.b64decode(content))
            f.truncate()
            f.flush()
            os.fsync(f.fileno())
    except OSError as e:
        raise exception.PeerError(
            operation='write the config drive', reason=f'{path}: {e.strerror}'
        ) from e
