# SPDX-License-Identifier: Apache-2.0
"""How the bandwidth of one migration is divided over its disks."""

from collections.abc import Mapping

MIB = 1024 * 1024

#: A mirroring disk only has to carry what the guest writes, but 0 would
#: mean "no limit" to libvirt, so it keeps a small share.
_READY_WEIGHT = 1
_COPYING_WEIGHT = 9


def shares(total: int, ready: Mapping[str, bool]) -> dict[str, int]:
    """Divide a limit over disks so that together they keep to it.

    :param total: bytes/s for all disks together; 0 = no limit
    :param ready: for each unfinished disk, whether it mirrors already
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
    """Limits of a disk with which its guest writes less than is copied.

    :param now: the limits that it has, by libvirt's names; 0 = none
    :param speed: bytes/s that its writes may take of the copy
    :param unit: bytes that the copy takes for the smallest write
    """
    wanted = dict(now)
    for name, most in (('bytes', speed), ('iops', speed // unit)):
        # QEMU takes a limit for both or one for writes, but not both
        total = f'total_{name}_sec'
        key = total if now.get(total) else f'write_{name}_sec'
        wanted[key] = max(1, min(now.get(key) or most, most))
        wanted[f'{key}_max'] = wanted[f'{key}_max_length'] = 0
    return wanted


def buffer(speed: int) -> int:
    """How much a limited copy may have in flight.

    QEMU's mirror fills its whole buffer at once and then waits until the
    limit allows the next one (block/mirror.c): with its 16 MiB, a copy
    limited to 4 MiB/s is a burst every four seconds.

    :param speed: bytes/s
    :returns: bytes, a power of two; 0 = what the hypervisor chooses
    """
    if not speed:
        return 0
    quarter_second = 1 << (speed // 4).bit_length()
    return min(max(MIB, quarter_second), 16 * MIB)
