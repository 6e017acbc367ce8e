# SPDX-License-Identifier: Apache-2.0
"""The end of a guest's QEMU log, which libvirt keeps on this host."""

import os

from nova_blockcopy import exception
from nova_blockcopy.host import access
from nova_blockcopy.runtime import privsep

#: The log directory of libvirt's system daemon (virQEMUDriverConfigNew in
#: libvirt's src/qemu/qemu_conf.c).
_DIRECTORY = '/var/log/libvirt/qemu'
_LINES = 3
_LENGTH = 300
_CHUNK = 64 * 1024


@privsep.entrypoint
def tail(guest: str) -> str:
    """Return the last lines of the log, joined by bars.

    If the log cannot be read, a sentence says so.

    :param guest: the guest's name
    """
    path = os.path.join(_DIRECTORY, f'{os.path.basename(guest)}.log')
    try:
        with access.opened_below(path, _DIRECTORY) as f:
            f.seek(max(0, os.fstat(f.fileno()).st_size - _CHUNK))
            text = f.read().decode(errors='replace')
    except OSError as e:
        return f'{path} cannot be read ({e.strerror}).'
    except exception.ImageError as e:
        return str(e)
    lines = [line.strip()[:_LENGTH] for line in text.splitlines()]
    return ' | '.join([line for line in lines if line][-_LINES:])
