# SPDX-License-Identifier: Apache-2.0
"""What QEMU's mirror job can be trusted with, by its version. Pure.

The page on QEMU in the contributor guide has the faults behind these rules.
Versions are those that libvirt counts, see ``plan.Versions``.
"""

import dataclasses

from nova_blockcopy import model

#: The finest granularity that QEMU knows.
FINEST = 512
_PADS_WELL = 8_001_000
_BEGINS_IN_ORDER = 8_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of a copy into one base: its least granularity in bytes, and why.

    ``synchronous`` tells whether writes of the guest may wait for the base.
    """

    granularity: int
    reason: str
    synchronous: bool


def limits(
    base: model.Image, *, alignment: int, cluster: int, hypervisor: int
) -> Limits:
    """The limits of a copy into a base.

    :param alignment: bytes, of a write to the base past the page cache
    :param cluster: bytes of a cluster of a qcow2
    """
    bounds = [(FINEST, 'the base takes any')]
    if base.backing is not None:
        bounds.append((cluster, 'QEMU must write whole clusters of the base'))
    if base.kind is model.ImageKind.BLOCK or hypervisor < _PADS_WELL:
        bounds.append((alignment, 'QEMU must not pad writes to the base'))
    granularity, reason = max(bounds)
    return Limits(
        granularity=granularity,
        reason=reason,
        synchronous=base.format is model.ImageFormat.RAW
        and hypervisor >= _BEGINS_IN_ORDER,
    )


def misses_first_writes(hypervisor: int) -> bool:
    """Whether a copy misses writes of the guest while it begins.

    Since 8.2. Repaired in 10.0.9 and, at the latest, in 10.2.2.
    """
    repaired = 10_000_009 <= hypervisor < 10_001_000
    return 8_002_000 <= hypervisor < 10_002_002 and not repaired
