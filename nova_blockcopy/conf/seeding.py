# SPDX-License-Identifier: Apache-2.0
"""The options for seeded mode, and for the checks of the data."""

from oslo_config import cfg

from nova_blockcopy import model

OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'mode',
        default=model.Mode.SEEDED.value,
        choices=[
            (
                model.Mode.DIRECT.value,
                'each disk is copied in full after the switchover; the guest '
                'depends on both hosts until all copies are done',
            ),
            (
                model.Mode.SEEDED.value,
                'each disk is copied before the switchover, while the guest '
                'writes to a delta; only the last delta is copied after the '
                'switchover',
            ),
        ],
        help='When the disks are copied.',
    ),
    cfg.StrOpt(
        'delta_dir',
        default='/var/lib/nova-blockcopy/deltas',
        sample_default='$state_path/blockcopy/deltas',
        help="""
Directory of the deltas that seeded mode needs while a guest moves.

On the source the guest writes to deltas in this directory, so there must be
room for all its writes during a migration. On the destination this directory
holds a delta of a later round until the delta is merged into the base.

The directory must be on a disk of this host, and must survive a reboot. The
user that QEMU runs as must have access to it. ``$state_path`` is that of Nova,
in ``[DEFAULT]``.
""",
    ),
    cfg.IntOpt(
        'delta_min_free',
        default=1024,
        advanced=True,
        min=0,
        help="""
Minimum of free space in ``delta_dir``, in MiB, beside the space that the
merges of all deltas of this host into the disks need. If either host has less
when a migration begins, the migration runs in direct mode. If the source has
less later, but before the pivot, the largest of its migrations is undone,
because QEMU pauses a guest whose delta cannot grow. While guests write fast,
the minimum is what the deltas of all migrations grow by in 5 seconds, if that
is more.

A guest also writes while its deltas are merged, so set at least as much as
your guests write in the time of a merge.
""",
    ),
    cfg.IntOpt(
        'delta_max_size',
        default=0,
        min=0,
        help="""
Maximum size of all deltas of one guest on the source together, in MiB. If the
deltas would reach it within 5 seconds, at the rate at which they grow, the
migration is undone. It counts until the pivot. 0 sets no limit.

There is no limit by default, because one number does not fit disks of all
sizes, and ``delta_min_free`` keeps the file system from running full. Set a
limit if the deltas share a file system with other data, and no guest is to
take all of it.
""",
    ),
    cfg.IntOpt(
        'seed_rounds',
        default=5,
        min=1,
        help="""
Maximum number of rounds of seeding before the switchover. The first round
copies the disks. Each further round copies the writes that the guest made
during the round before.
""",
    ),
    cfg.FloatOpt(
        'max_remote_window',
        default=1.0,
        min=0,
        help="""
Seconds that the copying after the switchover should take at most. The engine
forecasts this time after each round of seeding, from the size of the last
deltas and the rate of the round. While the forecast is longer than this
option, another round follows. If the forecast is short enough, another round
follows only if that round takes little time compared with all rounds before.
""",
    ),
    cfg.StrOpt(
        'seed_shortfall_action',
        default='proceed',
        choices=[
            (
                'proceed',
                'switch over all the same; the remote window is longer, and '
                'the guest may then write at only half the rate at which '
                'its disks were seeded',
            ),
            ('abort', 'undo the migration'),
        ],
        help="""
Action if the forecast stays longer than ``max_remote_window``: no round is
left, or the last round left no less to copy than the round before, because the
guest writes faster than the disks are copied.
""",
    ),
    cfg.IntOpt(
        'seed_workers',
        default=4,
        advanced=True,
        min=1,
        max=16,
        help='Number of pieces of the disks of one guest that the destination '
        'copies at a time.',
    ),
    cfg.IntOpt(
        'keep_seeded',
        default=0,
        min=0,
        help="""
Seconds that nova-compute keeps the bases of a migration that was undone, if
they have seeded data. Another attempt to the same host within this time copies
only the data that the bases lack; checksums prove the data that they have.
Nova does not count the space that kept bases take. 0 removes the bases at
once, as Nova does.
""",
    ),
    cfg.StrOpt(
        'verify',
        default=model.Verify.SAMPLE.value,
        choices=[
            (model.Verify.NONE.value, 'compare nothing'),
            (model.Verify.SAMPLE.value, 'compare a few pieces of each disk'),
            (model.Verify.FULL.value, 'compare all of each disk'),
        ],
        help="""
How much of the seeded data is compared with the source. Each host takes
checksums of its own images. If a checksum differs, the migration is undone.

``sample`` compares 16 pieces of 16 MiB of each disk. It finds a wrong base, or
a network that alters data. It finds one hole of 4 MiB in 100 GiB in 3 of 1000
cases, so set ``full`` if you do not trust the storage. A delta of a further
round is compared in full with ``sample``, too.

Without ``export_tls``, everything is compared: this option counts as ``full``.
""",
    ),
    cfg.BoolOpt(
        'verify_backing',
        default=True,
        advanced=True,
        help="""
Compare the checksums of the backing files on both hosts before a disk with a
backing file moves. Only the top layer is copied, so the guest would read wrong
data if the backing files differed.
""",
    ),
]
