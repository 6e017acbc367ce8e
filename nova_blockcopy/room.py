# SPDX-License-Identifier: Apache-2.0
"""The room that all migrations of one host need in one file system. Pure.

A delta grows while a guest writes. To take a migration back, its deltas are
merged into the disks below, and a disk with holes grows by that. So the room
for all merges must stay free, and a margin for the writes until the merges
have ended.
"""

import dataclasses
from collections.abc import Iterable

#: Seconds of writes that the margin holds. A second passes between two looks
#: at most, and the migration then ends its step and begins to merge. A guest
#: that writes 1 GB/s has filled 1 GB until the next look, and the margin is
#: then 5 GB.
HORIZON_S = 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The room of one migration in one file system.

    ``held`` are the bytes of its deltas there, and ``merge`` the bytes that
    the merge of all its deltas will still add to disks there. ``rate`` is
    how fast the deltas grow, in bytes/s. ``steady`` means that the migration
    can still be taken back, and is not being taken back yet. ``leaving``
    means that it is being taken back.
    """

    migration: str
    held: int = 0
    merge: int = 0
    rate: float = 0
    steady: bool = False
    leaving: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The bytes that must be free so that one migration may go on."""

    merges: int
    margin: int
    migrations: int

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return self.merges + self.margin


def demand(migration: str, needs: Iterable[Need], least: int) -> Demand:
    """Compute the free bytes with which a migration may go on.

    All migrations count the room for all merges. But only the one with most
    room keeps the whole margin free. Each one after it keeps half as much as
    the one before, and half as much again for each migration that is being
    taken back. So they are taken back one by one, the largest first, and the
    others go on if the room is enough for them then.

    :param migration: its id; of one that has not begun, any other word
    :param needs: of all migrations that use the file system
    :param least: bytes of the margin if nobody writes
    """
    all_needs = tuple(needs)
    margin = max(least, ahead(sum(need.rate for need in all_needs)))
    own = [_rank(need) for need in all_needs if need.migration == migration]
    before = sum(
        need.leaving or bool(own and need.steady and _rank(need) > own[0])
        for need in all_needs
        if need.migration != migration
    )
    return Demand(
        merges=sum(need.merge for need in all_needs),
        margin=margin >> before if own else margin,
        migrations=len(all_needs),
    )


def ahead(rate: float) -> int:
    """Return the bytes that are written within the horizon.

    :param rate: bytes/s
    """
    return int(rate * HORIZON_S)


def merge(size: int, first: int, now: int, held: int) -> int:
    """Return the bytes that the merge of deltas will still add to a file.

    :param size: bytes of the disk, as a guest sees it
    :param first: bytes that the file occupied before the merge began
    :param now: bytes that the file occupies now
    :param held: bytes that the deltas occupy
    """
    holes = max(0, size - first)
    return max(0, min(holes, held) - max(0, now - first))


def _rank(need: Need) -> tuple[int, str]:
    return need.held + need.merge, need.migration
