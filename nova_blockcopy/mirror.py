# SPDX-License-Identifier: Apache-2.0
"""The safe parameters of QEMU's mirror job, by the version of QEMU. Pure.

The page on QEMU in the contributor guide describes the faults behind these
rules. A version is a number of libvirt, see ``plan.Versions``.
"""

import dataclasses

from nova_blockcopy import model

#: Bytes of the smallest granularity that QEMU accepts.
FINEST = 512
#: Before this version a padded write of many blocks can exceed IOV_MAX.
_PADS_WELL = 8_001_000
#: Before this version QEMU can crash at the start of a synchronous copy.
_BEGINS_IN_ORDER = 8_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a copy into one base.

    ``granularity`` is the smallest safe one, in bytes, and ``reason`` says
    why, in words. ``synchronous`` tells whether synchronous writes are safe.
    """

    granularity: int
    reason: str
    synchronous: bool


def limits(
    base: model.Image, *, alignment: int, cluster: int, hypervisor: int
) -> Limits:
    """Find the limits of a copy into a base.

    :param alignment: bytes to which direct writes to the base are aligned
    :param cluster: bytes of a cluster of the base; 0 if the base is raw
    :param hypervisor: the version of QEMU on the destination
    """
    bounds = [(FINEST, 'the base takes any granularity')]
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
    """Whether a copy loses writes that the guest makes while the copy begins.

    QEMU has this fault from 8.2 on. It is repaired in 10.0.9 and, at the
    latest, in 10.2.2.

    :param hypervisor: the version of QEMU on the destination
    """
    repaired = 10_000_009 <= hypervisor < 10_001_000
    return 8_002_000 <= hypervisor < 10_002_002 and not repaired
