# SPDX-License-Identifier: Apache-2.0
"""Rate limits for the copies of a guest, and for the guest's writes. Pure."""

from collections.abc import Mapping

MIB = 1024 * 1024

#: A ready copy carries only the writes of the guest, so a small share is
#: enough. The share cannot be 0, because libvirt takes 0 for "no limit".
_READY_WEIGHT = 1
_COPYING_WEIGHT = 9


def shares(total: int, ready: Mapping[str, bool]) -> dict[str, int]:
    """Divide a limit over the copies of a guest's disks.

    :param total: bytes/s for all disks together; 0 = no limit
    :param ready: for each disk that has not pivoted, whether its copy is
        ready
    :returns: bytes/s for each disk; 0 = no limit
    """
    if not total:
        return dict.fromkeys(ready, 0)
    weights = {
        disk: _READY_WEIGHT if is_ready else _COPYING_WEIGHT
        for disk, is_ready in ready.items()
    }
    whole = sum(weights.values())
    return {
        disk: max(1, total * weight // whole)
        for disk, weight in weights.items()
    }


def slowed(now: Mapping[str, int], speed: int, unit: int) -> dict[str, int]:
    """Lower the I/O limits of a disk, so that the copy can catch up.

    :param now: the present limits of the disk, by libvirt's names; 0 = none
    :param speed: bytes/s that the guest's writes may add to the copy
    :param unit: bytes that the copy transfers for the smallest write, which
        is its granularity
    :returns: the new limits, by libvirt's names
    """
    wanted = dict(now)
    for name, most in (('bytes', speed), ('iops', speed // unit)):
        # QEMU accepts a limit for reads and writes together, or one for
        # writes, but not both at a time
        total = f'total_{name}_sec'
        key = total if now.get(total) else f'write_{name}_sec'
        wanted[key] = max(1, min(now.get(key) or most, most))
        wanted[f'{key}_max'] = wanted[f'{key}_max_length'] = 0
    return wanted


def buffer(speed: int) -> int:
    """The ``buf_size`` of a copy with a bandwidth limit.

    QEMU's mirror fills its whole buffer at once, and then waits until the
    limit allows the next buffer (block/mirror.c). With the default of 16 MiB
    a copy with a limit of 4 MiB/s sends a burst every four seconds.

    :param speed: the limit in bytes/s; 0 = no limit
    :returns: bytes, a power of two from 1 MiB to 16 MiB; 0 leaves the choice
        to the hypervisor
    """
    if not speed:
        return 0
    quarter_second = 1 << (speed // 4).bit_length()
    return min(max(MIB, quarter_second), 16 * MIB)
