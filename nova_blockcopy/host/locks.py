# SPDX-License-Identifier: Apache-2.0
"""The locks that QEMU has on an image of this host.

QEMU locks single bytes of each file and block device that it opens, unless
the option ``locking`` is ``off`` (``raw_apply_lock_bytes`` in QEMU's
block/file-posix.c). A user that only reads has such a lock, too. The kernel
tells of these locks across the namespaces of processes and mounts.

Two kinds of users have no lock that is seen. One is a QEMU whose guest is yet
to arrive, or has left (``BDRV_O_INACTIVE`` in ``raw_handle_perm_lock``). The
other has another node of the same block device, because the kernel keeps the
locks of a device with the node. libvirt gives each guest a ``/dev`` of its own
(``qemuDomainBuildNamespace`` in libvirt's src/qemu/qemu_namespace.c).
"""

import fcntl
import os
import struct

from nova_blockcopy.host import access

#: ``struct flock`` of fcntl(2), with the padding at the end.
_FLOCK = 'hhqqi4x'
#: The bytes from RAW_LOCK_PERM_BASE to the end of those that begin at
#: RAW_LOCK_SHARED_BASE (block/file-posix.c). libvirt locks bytes below these.
_FIRST = 100
_LENGTH = 200


def held(path: str) -> bool | None:
    """Tell whether some process has an image locked as QEMU does.

    Runs in the helper. Takes no lock itself, so no other program fails.

    :returns: None if the file system does not tell, or the image cannot be
        opened
    """
    # an exclusive lock would meet those of readers, too
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _FIRST, _LENGTH, 0)
    try:
        with access.opened(path, buffering=0) as image:
            answer = fcntl.fcntl(image, fcntl.F_OFD_GETLK, asked)
    except OSError:
        return None
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
