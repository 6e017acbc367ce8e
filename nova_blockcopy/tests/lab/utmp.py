# SPDX-License-Identifier: Apache-2.0
"""The file that tells a host when it has booted, see utmp(5).

libvirt keeps this time with the owner of a file that it remembers. What it
remembered before another boot is stale (virSecurityValidateTimestamp() in
security_util.c). Without the file, libvirt calculates the time, and a restart
of libvirtd may find another second.
"""

import struct

#: The path of the file in a host's namespaces, relative to the root.
PATH = 'run/utmp'
#: Type, line, id, user and host; seconds and microseconds.
_RECORD = struct.Struct('=h6x32s4s32s256s8xii36x')
_BOOT_TIME = 2


def boot(seconds: int) -> bytes:
    """Return the content of the file for a boot at a time.

    :param seconds: since the epoch
    """
    names = (b'~', b'~~', b'reboot', b'')
    return _RECORD.pack(_BOOT_TIME, *names, seconds, 0)
