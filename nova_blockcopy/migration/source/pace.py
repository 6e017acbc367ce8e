# SPDX-License-Identifier: Apache-2.0
"""The limits of one migration: for the copying, and for the guest's writes."""

import dataclasses
from collections.abc import Callable

from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states


@dataclasses.dataclass(slots=True, kw_only=True)
class Pace:
    """Limits in bytes/s for all disks together; 0 = no limit.

    ``copy`` limits the copying. An operator can change this limit at any
    time. ``guest`` limits the guest's writes while the last delta is copied.
    """

    copy: int
    guest: int = 0

    def followed(
        self, order: Callable[[int], None], watch: progress.Watch
    ) -> progress.Watch:
        """Order a new limit for the copying with the next figures.

        An operator may change the limit while the order to copy is on its
        way, with the old limit.

        :param order: gives the limit to the destination
        """
        ordered = self.copy

        def follow(
            state: states.State, disks: tuple[model.DiskProgress, ...]
        ) -> None:
            nonlocal ordered
            if self.copy != ordered:
                ordered = self.copy
                order(ordered)
            watch(state, disks)

        return follow
