# SPDX-License-Identifier: Apache-2.0
"""The user that nova-compute runs as."""

import dataclasses
import os
import pwd


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of this host.

    ``present`` tells whether this process runs as that user.
    """

    name: str
    uid: int
    gid: int
    present: bool


def of_nova_compute(state_path: str) -> Account:
    """Find the user that nova-compute runs as.

    That is the owner of Nova's ``state_path``, because nova-compute has to
    write there. If root is the owner, or nobody, it is the present user.
    """
    present = os.geteuid()
    try:
        uid = os.stat(state_path).st_uid or present
    except OSError:
        uid = present
    try:
        found = pwd.getpwuid(uid)
    except KeyError:  # as in a container
        return Account(name=str(uid), uid=uid, gid=uid, present=uid == present)
    return Account(
        name=found.pw_name, uid=uid, gid=found.pw_gid, present=uid == present
    )


def can_look(nova_compute: Account) -> bool:
    """Tell whether this process may look at what nova-compute uses."""
    return nova_compute.present or os.geteuid() == 0
