# SPDX-License-Identifier: Apache-2.0
"""How the block copies run, by libvirt and QEMU on the destination."""

from typing import Any

from oslo_config import cfg
from oslo_config import types

from nova_blockcopy import bandwidth

MAX_GRANULARITY = 64 * bandwidth.MIB
#: The largest MiB/s whose bytes/s libvirt takes (LLONG_MAX,
#: qemuDomainBlockCopyCommon in libvirt's src/qemu/qemu_driver.c).
MAX_BANDWIDTH = (2**63 - 1) // bandwidth.MIB


class Granularity(types.Integer):
    """Option type: 0, or a power of two from 512 bytes to 64 MiB.

    The bounds are those of QEMU's blockdev-mirror (qapi/block-core.json).
    """

    def __call__(self, value: Any) -> int:
        """Take a value.

        :raises ValueError: what oslo.config expects of a type
        """
        number = int(super().__call__(value) or 0)
        if number and (
            not 512 <= number <= MAX_GRANULARITY or number & (number - 1)
        ):
            raise ValueError(
                f'{number} is not a power of two from 512 to '
                f'{MAX_GRANULARITY} bytes; give one, or 0 to leave it to '
                f'the hypervisor'
            )
        return number


LIBVIRT_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        'block_migration_bandwidth',
        default=0,
        min=0,
        max=MAX_BANDWIDTH,
        help="""
Bandwidth limit for copying disks in a block live migration, in MiB/s.

The limit is for all disks of one migration together: it is divided over
them and shifted as they finish. It does not apply to memory, for which
``live_migration_bandwidth`` is there. It is read when a migration begins.

Possible values:

* 0: no limit
* any positive integer: MiB/s
""",
    ),
]

OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'driver',
        default='libvirt',
        help="""
Copy driver that runs the block copies.

Possible values:

* ``libvirt``: calls of the libvirt API on an open connection
* ``virsh``: the ``virsh`` command, a process for each call
* the name of any entry point in the ``nova_blockcopy.drivers`` namespace
""",
    ),
    cfg.Opt(
        'granularity',
        type=Granularity(),
        default=512,
        help="""
Granularity of a copy's dirty bitmap, in bytes.

A small granularity repeats less work for small guest writes and costs more
processor time and memory: 512 takes 512 MiB of bitmap for 1 TiB of disk,
65536 takes 4 MiB.

QEMU cannot copy into every base with a small granularity. A copy therefore
uses more than this value where its base needs more. A qcow2 base with a
backing file needs its cluster size, 65536 by default. A file needs 4096 before
QEMU 8.1. A block device needs the size of its logical sectors. The log of the
destination then has the granularity and the reason.

Possible values:

* a power of two from 512 to 67108864 (64 MiB)
* 0: what the hypervisor chooses
""",
    ),
    cfg.IntOpt(
        'buf_size',
        default=0,
        min=0,
        help="""
Most data in flight in one copy, in bytes.

Possible values:

* 0: without a bandwidth limit what the hypervisor chooses (QEMU: 16 MiB);
  with one, what it allows in a quarter to half a second, so that the limit
  holds over short times too, but from 1 to 16 MiB
* any positive integer: bytes
""",
    ),
    cfg.BoolOpt(
        'synchronous_writes',
        default=False,
        help="""
Make each guest write wait until it reached the base too. A copy then always
gets ready, however much the guest writes, at the price of slower writes.

Only disks with a raw base (a block device or a raw file) can have it, and
only with QEMU 8.0 or newer on the destination. Elsewhere QEMU may crash or
lose data with synchronous writes, so the engine does without them.
""",
    ),
]
