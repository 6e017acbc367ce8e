# SPDX-License-Identifier: Apache-2.0
"""The limits of one migration: for the copying, and for the guest's writes."""

import dataclasses


@dataclasses.dataclass(slots=True, kw_only=True)
class Pace:
    """Limits in bytes/s for all disks together; 0 = no limit.

    ``copy`` limits the copying. An operator can change this limit at any
    time. ``guest`` limits the guest's writes while the last delta is copied.
    """

    copy: int
    guest: int = 0
