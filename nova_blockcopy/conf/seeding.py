# SPDX-License-Identifier: Apache-2.0
"""How the disks travel, and what is proven of them."""

from oslo_config import cfg

from nova_blockcopy import model

OPTS: list[cfg.Opt] = [
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
    cfg.BoolOpt(
        'verify_backing',
        default=True,
        help="""
Compare checksums of the backing images on both hosts before a disk with a
backing file moves. Only the top layer travels, so a guest would read wrong
data if the two differed.
""",
    ),
]
