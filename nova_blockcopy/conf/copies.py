# SPDX-License-Identifier: Apache-2.0
"""The options for the block copies, which run on the destination."""

from typing import Any

from oslo_config import cfg
from oslo_config import types

from nova_blockcopy import bandwidth

MAX_GRANULARITY = 64 * bandwidth.MIB
#: The largest limit in MiB/s that libvirt accepts: LLONG_MAX in bytes/s
#: (qemuDomainBlockCopyCommon in libvirt's src/qemu/qemu_driver.c).
MAX_BANDWIDTH = (2**63 - 1) // bandwidth.MIB


class Granularity(types.Integer):
    """Option type for bytes: 0, or a power of two from 512 bytes to 64 MiB.

    QEMU's blockdev-mirror has these bounds (qapi/block-core.json).
    """

    def __call__(self, value: Any) -> int:
        """Convert and check a value.

        :raises ValueError: the value is out of the bounds; oslo.config expects
            this error of an option type
        """
        number = int(super().__call__(value) or 0)
        if number and (
            not 512 <= number <= MAX_GRANULARITY or number & (number - 1)
        ):
            raise ValueError(
                f'{number} is not a power of two from 512 to '
                f'{MAX_GRANULARITY} bytes; set one, or 0 to leave the choice '
                f'to the hypervisor'
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

The limit applies to all disks of one migration together. The engine divides
the limit over the disks, and gives the share of a finished disk to the others.
For the memory of the guest set ``live_migration_bandwidth``. nova-compute
reads this option when it starts.

Possible values:

* 0: no limit
* any positive integer: the limit in MiB/s
""",
    ),
]

OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'driver',
        default='libvirt',
        help="""
Copy driver that runs the block jobs on this host: the copies of guests that
arrive, and the commits of guests whose migration is undone.

Possible values:

* ``libvirt``: calls the libvirt API on an open connection
* ``virsh``: runs the ``virsh`` command, one process for each call
* the name of any entry point in the ``nova_blockcopy.drivers`` namespace
""",
    ),
    cfg.Opt(
        'granularity',
        type=Granularity(),
        default=512,
        help="""
Granularity of a copy's dirty bitmap, in bytes.

With a small granularity QEMU copies less data again after small writes of the
guest, but uses more processor time and memory. For a disk of 1 TiB the bitmap
takes 512 MiB of memory with 512, and 4 MiB with 65536.

QEMU cannot copy into every base with a small granularity. The engine raises
the value for a base that needs more, and logs the granularity and the reason
on the destination:

* a qcow2 base with a backing file needs its cluster size, 65536 by default
* a file needs 4096 before QEMU 8.1
* a block device needs the size of its logical sectors

Possible values:

* a power of two from 512 to 67108864 (64 MiB)
* 0: the hypervisor chooses
""",
    ),
    cfg.IntOpt(
        'buf_size',
        default=0,
        advanced=True,
        min=0,
        help="""
Maximum of data in flight in one copy, in bytes.

Possible values:

* 0: the engine chooses. With a bandwidth limit the maximum is the data of a
  quarter to half a second, from 1 MiB to 16 MiB, so that the copy keeps the
  limit over short times too. Without a limit the hypervisor chooses (QEMU:
  16 MiB).
* any positive integer: the maximum in bytes
""",
    ),
    cfg.BoolOpt(
        'synchronous_writes',
        default=False,
        advanced=True,
        help="""
Make each write of the guest wait until the write has reached the base, too.
A copy then becomes ready however much the guest writes, but the writes are
slower.

The engine uses synchronous writes only for disks with a raw base (a block
device or a raw file), and only with QEMU 8.0 or newer on the destination.
Otherwise QEMU may crash or lose data with them.
""",
    ),
]
