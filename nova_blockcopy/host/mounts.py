# SPDX-License-Identifier: Apache-2.0
"""The file systems that a look at a file of this host may hang on.

A call such as stat(2) waits without end for a server that is gone. So a
search over the files of other programs leaves out the file systems that
another machine or a process serves. The list of mounts comes from proc(5),
which asks no server.
"""

import dataclasses
import glob
import os
import re
from collections.abc import Iterable
from collections.abc import Iterator

#: The first letters of the types of such file systems.
_SERVED = (
    *('9p', 'afs', 'beegfs', 'ceph', 'cifs', 'coda', 'fuse', 'glusterfs'),
    *('gpfs', 'lustre', 'ncpfs', 'nfs', 'pvfs2', 'smb', 'virtiofs'),
)
#: A space, tab, newline or backslash in mountinfo.
_ESCAPED = re.compile(r'\\([0-7]{3})')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount; ``id`` differs for all mounts of all namespaces."""

    id: str
    device: int
    point: str
    type: str

    @property
    def served(self) -> bool:
        """Whether another machine or a process serves the file system."""
        return self.type.startswith(_SERVED)


def of(process: str = 'self') -> list[Mount]:
    """Return the mounts that a process sees; none if the process has ended.

    :param process: a process id
    """
    try:
        with open(f'/proc/{process}/mountinfo', encoding='utf-8') as f:
            return [_parsed(line) for line in f]
    except OSError:
        return []


def of_all() -> Iterator[Mount]:
    """Yield the mounts of all namespaces of this host."""
    seen = set()
    for link in glob.iglob('/proc/[0-9]*/ns/mnt'):
        try:
            namespace = os.readlink(link)
        except OSError:
            continue  # the process has ended
        if namespace not in seen:
            seen.add(namespace)
            yield from of(link.split('/')[2])


def containing(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """Return the mount that a path is in; None if no mount fits. Pure.

    :param path: an absolute path without symbolic links
    """
    found = None
    for mount in mounts:
        inside = os.path.join(mount.point, '')
        if f'{path}/'.startswith(inside) and (
            # a later mount at the same place covers the earlier one
            found is None or len(mount.point) >= len(found.point)
        ):
            found = mount
    return found


def _parsed(line: str) -> Mount:
    """Read a line of mountinfo; see proc(5)."""
    fields = line.split()
    major, minor = map(int, fields[2].split(':'))
    return Mount(
        id=fields[0],
        device=os.makedev(major, minor),
        point=_ESCAPED.sub(lambda m: chr(int(m[1], 8)), fields[4]),
        type=fields[fields.index('-', 6) + 1],
    )
