# SPDX-License-Identifier: Apache-2.0
"""How long things may take, in seconds."""

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
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
