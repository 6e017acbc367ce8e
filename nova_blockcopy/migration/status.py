# SPDX-License-Identifier: Apache-2.0
"""The destination's answer about a migration and its last task."""

import dataclasses
from typing import Any

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy import wire
from nova_blockcopy.host import hypervisor


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The last task of a migration on the destination.

    ``name`` is None if there was no task. ``result`` and ``failure``, a packed
    error, are None until the task is done.
    """

    name: str | None
    done: bool
    result: Any = None
    failure: dict[str, wire.Text] | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The figures of a migration that only the destination knows.

    ``allocated`` are the bytes that the bases occupy. ``longest_stop_s`` is
    the longest time in seconds for which the guest stood still. None means
    that the figure is not known.
    """

    allocated: int | None = None
    longest_stop_s: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of a migration on the destination.

    ``state`` is that of the journal; None without a journal. ``pivoted`` are
    the disks that are proven to be on their bases.
    """

    state: states.State | None
    pivoted: tuple[str, ...]
    power: hypervisor.Power
    disks: tuple[model.DiskProgress, ...]
    task: Task
