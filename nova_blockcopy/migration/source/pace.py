# SPDX-License-Identifier: Apache-2.0
"""How fast the disks of one guest may be copied, and the guest may write."""

import dataclasses


@dataclasses.dataclass(slots=True, kw_only=True)
class Pace:
    """Limits in bytes/s for all disks together; 0 = no limit.

    ``copy`` limits the copying. An operator can change it at any time.
    ``guest`` limits what the guest writes while its last delta is copied.
    """

    copy: int
    guest: int = 0
