# SPDX-License-Identifier: Apache-2.0
"""Which processes of this host the engine can see.

A container has process ids of its own, unless it is told to use those of the
host. Then ``/proc`` in the container lacks the processes outside, such as the
QEMU of guests whose libvirt is in another container.
"""

import enum
import glob
import os
from collections.abc import Iterable
from collections.abc import Iterator

from nova_blockcopy import model
from nova_blockcopy.runtime import privsep

_NAMESPACE = '/proc/self/ns/pid'
#: The inode of the first namespace of process ids, which has all processes
#: (PROC_PID_INIT_INO in Linux' include/linux/proc_ns.h).
_FIRST = 0xEFFFFFFC
#: The daemons of libvirt that start QEMU. Each guest's QEMU is in the
#: namespace of its daemon.
_DAEMONS = frozenset({'libvirtd', 'virtqemud'})
#: What to do about processes that are not seen.
REMEDY = (
    'Give the container the process ids of the host (kolla-ansible: pid_mode '
    '"host"; docker, podman: --pid host).'
)


class Visibility(enum.StrEnum):
    """Which processes of its host the engine sees."""

    ALL = 'all'
    #: Those of its own namespace, and libvirt's guests are among them.
    GUESTS = 'guests'
    #: Those of its own namespace, without libvirt's guests.
    OWN = 'own'


def current() -> Visibility:
    """Return which processes of this host the helper sees now."""
    return Visibility(_current())


@privsep.entrypoint
def _current() -> str:
    return decide(_namespace(), _programs()).value


def decide(namespace: int, programs: Iterable[str]) -> Visibility:
    """Decide which processes are seen. Pure.

    :param namespace: the inode of the namespace of process ids
    :param programs: the names of the programs that ``/proc`` shows, which are
        read only as far as they matter
    """
    if namespace == _FIRST:
        return Visibility.ALL
    if _DAEMONS.isdisjoint(programs):
        return Visibility.OWN
    return Visibility.GUESTS


def blind_spot(
    seen: Visibility, kind: model.ImageKind, *, told: bool
) -> str | None:
    """Say why a guest's QEMU may use an image unnoticed. Pure.

    :param told: whether the image's file system tells of QEMU's locks
    :returns: None if a look at processes and locks finds each guest
    """
    if seen is not Visibility.OWN:
        return None
    if kind is model.ImageKind.BLOCK:
        # a guest has a node of its own, and its locks are there
        how = 'no lock tells whether a guest uses a block device'
    elif not told:
        how = 'its file system does not tell of the locks of QEMU'
    else:
        return None
    return (
        f'nova-compute does not see the processes of libvirt on this host, '
        f'and {how}. {REMEDY}'
    )


def _namespace() -> int:
    """Return the inode of the helper's namespace; 0 if ``/proc`` hides it."""
    try:
        return os.stat(_NAMESPACE).st_ino
    except OSError:
        return 0


def _programs() -> Iterator[str]:
    for path in glob.iglob('/proc/[0-9]*/comm'):
        try:
            with open(path, encoding='utf-8', errors='replace') as f:
                program = f.read().strip()
        except OSError:
            continue  # the process has ended
        yield program
