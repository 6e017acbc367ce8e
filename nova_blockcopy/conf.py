# SPDX-License-Identifier: Apache-2.0
"""The options of nova.conf, and the frozen value the engine is given.

Nothing here reads a global configuration: the caller registers the options
on its own ``ConfigOpts`` and takes a :class:`Settings` from it.
"""

import copy
import dataclasses
from collections.abc import Iterable
from typing import Any

from oslo_config import cfg
from oslo_config import types

from nova_blockcopy import bandwidth
from nova_blockcopy import exception
from nova_blockcopy import model

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

BLOCKCOPY_OPTS: list[cfg.Opt] = [
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
    cfg.StrOpt(
        'mode',
        default=model.Mode.SEEDED.value,
        choices=[
            (
                model.Mode.DIRECT.value,
                'all of a disk is copied after the switchover; the guest '
                'depends on both hosts for as long as that takes',
            ),
            (
                model.Mode.SEEDED.value,
                'the bulk of a disk is copied before the switchover, while '
                'the guest writes to a delta; only the last delta is copied '
                'after the switchover',
            ),
        ],
        help='How the bulk of the disks travels.',
    ),
    cfg.StrOpt(
        'delta_dir',
        default='/var/lib/nova-blockcopy/deltas',
        help="""
Directory of the deltas that seeded mode needs while a guest moves.

On the source the guest writes to deltas there, so all that it writes during a
migration must have room. On the destination a delta of a later seeding round
is there until it is merged into the base. The directory must be on this
host's own disk, survive a reboot, and be open to the user that QEMU runs as.
""",
    ),
    cfg.IntOpt(
        'delta_min_free',
        default=1024,
        min=0,
        help="""
Least free space in ``delta_dir``, in MiB. With less on either host when a
migration begins, it is made in direct mode. With less on the source later, but
before the switchover, it is taken back, because a guest whose delta cannot
grow would be paused.
""",
    ),
    cfg.IntOpt(
        'seed_rounds',
        default=5,
        min=1,
        help="""
Most rounds of seeding before the switchover. The first one copies the disks.
Each further one copies what the guest has written during the one before.
""",
    ),
    cfg.FloatOpt(
        'max_remote_window',
        default=1.0,
        min=0,
        help="""
Seconds that the copying after the switchover should take at most. The forecast
comes from the size of the last deltas and the rate of the last round. While
the forecast is longer, another round of seeding is done. Where the forecast is
short enough, another round follows all the same if it takes little time
against the rounds before, because it makes the remote window shorter.
""",
    ),
    cfg.StrOpt(
        'seed_shortfall_action',
        default='proceed',
        choices=[
            (
                'proceed',
                'switch over all the same; the window is longer, and the '
                'guest may write only half as fast in it as its disks are '
                'copied',
            ),
            ('abort', 'take the migration back'),
        ],
        help="""
What to do if ``max_remote_window`` is not reached: all rounds are done, or a
round left no less to copy than the one before, because the guest writes
faster than the disks are copied.
""",
    ),
    cfg.IntOpt(
        'seed_workers',
        default=4,
        min=1,
        max=16,
        help='Pieces of the disks of one guest that are seeded at a time.',
    ),
    cfg.IntOpt(
        'keep_seeded',
        default=0,
        min=0,
        help="""
Seconds that nova-compute keeps the bases of a migration that was taken back,
if something has been seeded into them. Another attempt to the same host within
that time goes on with what it proves to be there. They need space that Nova
does not count. 0 removes them at once, as Nova does.
""",
    ),
    cfg.StrOpt(
        'verify',
        default=model.Verify.SAMPLE.value,
        choices=[
            (model.Verify.NONE.value, 'nothing'),
            (model.Verify.SAMPLE.value, 'a few pieces of each disk'),
            (model.Verify.FULL.value, 'all of each disk'),
        ],
        help="""
How much of what was seeded is compared with the source, by checksums that
each host takes of its own disks. A difference stops the migration.
""",
    ),
    cfg.StrOpt(
        'connection_uri',
        default='qemu:///system',
        help="""
URI of this host's own libvirt, as seen by this host. Inside nova-compute
Nova's connection is used instead, and this option only for ``virsh``.
""",
    ),
    cfg.StrOpt(
        'journal_dir',
        default='/var/lib/nova-blockcopy/journal',
        help="""
Directory of the journals: a file for each guest that is being moved. It must
be on this host's own disk, survive a reboot, and not be shared between
hosts.
""",
    ),
    cfg.HostAddressOpt(
        'export_address',
        default='127.0.0.1',
        help="""
Address of this host at which it exports its disks to the destination. It
must be reachable from there; use an address of the migration network. With
``export_tls`` this host's certificate must be for this address, so it may be
a name.
""",
    ),
    cfg.BoolOpt(
        'export_tls',
        default=False,
        help="""
Encrypt exports by TLS, and serve only clients that have a certificate. A live
migration by the engine itself, and that of a guest that goes back to its
source, is encrypted too. In nova-compute the default is ``[libvirt]
live_migration_with_native_tls``. It must be the same on both hosts.

Related options:

* ``export_tls_dir``, for the server's side
* ``default_tls_x509_cert_dir`` or ``nbd_tls_x509_cert_dir`` in the
  ``qemu.conf`` of libvirt, for the client's side
* ``allow_plaintext``, for hosts without TLS
""",
    ),
    cfg.StrOpt(
        'export_tls_dir',
        default='/etc/pki/qemu',
        help="""
Directory of the certificates that exports use: ``ca-cert.pem``,
``server-cert.pem`` and ``server-key.pem``; in seeded mode also, on the
destination, ``client-cert.pem`` and ``client-key.pem``. Every client with a
certificate of that authority is served.
""",
    ),
    cfg.BoolOpt(
        'allow_plaintext',
        default=False,
        help="""
Let this host export disks in clear text if ``export_tls`` is off. Whoever can
reach an export then can read and write the disk: keep its network to
hypervisors.
""",
    ),
    cfg.PortOpt(
        'export_port_min',
        default=49216,
        help="""
First TCP port to export disks at. Each disk takes up to two ports: one for the
image that the guest writes to, and one for the content of the layers below it.
""",
    ),
    cfg.PortOpt(
        'export_port_max',
        default=49343,
        help='Last TCP port to export disks at.',
    ),
    cfg.BoolOpt(
        'verify_backing',
        default=True,
        help="""
Compare checksums of the backing images on both hosts before a disk with a
backing file moves. Only the top layer travels, so a guest would read wrong
data if the two differed.
""",
    ),
    cfg.FloatOpt(
        'poll_interval',
        default=0.5,
        min=0.05,
        max=60,
        help="""
Seconds between two looks at a running copy, at most: the first ones are
closer together, as much is done soon.
""",
    ),
    cfg.IntOpt(
        'call_timeout',
        default=60,
        min=1,
        help="""
Seconds that one call of the hypervisor, one command or one message to the
other host may take.
""",
    ),
    cfg.IntOpt(
        'stall_timeout',
        default=300,
        min=1,
        help="""
Seconds after which the copies of a guest are given up if none of them makes
progress. The migration is then taken back and the guest returns to its
source.
""",
    ),
    cfg.IntOpt(
        'ready_timeout',
        default=0,
        min=0,
        help="""
Seconds that all copies together may take to become ready; 0 = no limit. When
they have passed, the migration is taken back.
""",
    ),
    cfg.IntOpt(
        'pivot_timeout',
        default=120,
        min=1,
        help="""
Seconds that the pivot of all disks of a guest may take. Not counted is the
copying again of a disk whose copy failed after another disk had pivoted.
""",
    ),
    cfg.IntOpt(
        'switchover_timeout',
        default=1800,
        min=1,
        help="""
Seconds that the live migration of memory may take. When they have passed, it
is aborted and the guest goes on running where it was.
""",
    ),
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All options of one host, in the units that the options name."""

    block_migration_bandwidth: int = 0
    driver: str = 'libvirt'
    granularity: int = 512
    buf_size: int = 0
    synchronous_writes: bool = False
    mode: model.Mode = model.Mode.SEEDED
    delta_dir: str
    delta_min_free: int = 1024
    seed_rounds: int = 5
    max_remote_window: float = 1.0
    seed_shortfall_action: str = 'proceed'
    seed_workers: int = 4
    keep_seeded: int = 0
    verify: model.Verify = model.Verify.SAMPLE
    connection_uri: str = 'qemu:///system'
    journal_dir: str
    export_address: str
    export_tls: bool = False
    export_tls_dir: str = '/etc/pki/qemu'
    allow_plaintext: bool = False
    export_port_min: int
    export_port_max: int
    verify_backing: bool = True
    poll_interval: float = 0.5
    call_timeout: int = 60
    stall_timeout: int = 300
    ready_timeout: int = 0
    pivot_timeout: int = 120
    switchover_timeout: int = 1800

    def encryption(
        self, side: model.Side, *, tls: bool
    ) -> model.Encryption | None:
        """How this host encrypts an export; None for clear text.

        :param tls: whether the export is encrypted. What is served already
            stays as it is, whatever is configured since.
        """
        if not tls:
            return None
        return model.Encryption(directory=self.export_tls_dir, side=side)

    @property
    def copy(self) -> model.CopySettings:
        return model.CopySettings(
            granularity=self.granularity,
            buf_size=self.buf_size,
            synchronous_writes=self.synchronous_writes,
            bandwidth=bytes_per_s(self.block_migration_bandwidth),
        )


def bytes_per_s(mib_per_s: int) -> int:
    """Turn a limit in MiB/s into bytes/s.

    :raises InvalidOption: a negative one, which virsh would take for a very
        large one (virsh manual, blockcopy), or one too large for libvirt
    """
    if not 0 <= mib_per_s <= MAX_BANDWIDTH:
        raise exception.InvalidOption(
            option='block_migration_bandwidth',
            reason=f'{mib_per_s} MiB/s is not in 0 to {MAX_BANDWIDTH}; '
            f'give 0 for no limit.',
        )
    return mib_per_s * bandwidth.MIB


def register_opts(conf: cfg.ConfigOpts) -> None:
    conf.register_opts(LIBVIRT_OPTS, group='libvirt')
    conf.register_opts(BLOCKCOPY_OPTS, group='blockcopy')


def list_opts() -> Iterable[tuple[str, list[cfg.Opt]]]:
    """Entry point ``oslo.config.opts``: for the sample file and the docs."""
    return [
        ('libvirt', copy.deepcopy(LIBVIRT_OPTS)),
        ('blockcopy', copy.deepcopy(BLOCKCOPY_OPTS)),
    ]


def settings(conf: cfg.ConfigOpts, **overrides: Any) -> Settings:
    """Take the options of one host as they are now.

    :param overrides: values that stand for configured ones, checked alike
    :raises InvalidOption: a value is out of its bounds
    """
    values: dict[str, Any] = {}
    for group, opts in list_opts():
        for opt in opts:
            given = ''
            try:
                if opt.dest in overrides:
                    given = f'{overrides[opt.dest]}: '
                    values[opt.dest] = opt.type(overrides.pop(opt.dest))
                else:
                    values[opt.dest] = conf[group][opt.dest]
            except (ValueError, cfg.ConfigFileValueError) as e:
                raise exception.InvalidOption(
                    option=f'[{group}] {opt.dest}',
                    reason=f'{given}{e}.',
                ) from e
    if overrides:
        raise exception.InvalidOption(
            option=', '.join(overrides), reason='there is no such option.'
        )
    if values['export_port_min'] > values['export_port_max']:
        raise exception.InvalidOption(
            option='[blockcopy] export_port_min',
            reason='it is above export_port_max.',
        )
    values['mode'] = model.Mode(values['mode'])
    values['verify'] = model.Verify(values['verify'])
    return Settings(**values)
