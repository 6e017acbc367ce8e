# SPDX-License-Identifier: Apache-2.0
"""The options for intervals and time limits, in seconds."""

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.FloatOpt(
        'poll_interval',
        default=0.5,
        advanced=True,
        min=0.05,
        max=60,
        help="""
Maximum of seconds between two looks at a running copy. The first looks follow
one another faster, because a small copy ends soon.
""",
    ),
    cfg.IntOpt(
        'call_timeout',
        default=60,
        advanced=True,
        min=1,
        help="""
Seconds that one short act on this host may take: a libvirt call of a copy
driver, the start or the end of an export, the creation of a delta, or the
abort of a task. A message to the other host has the limit ``[DEFAULT]
rpc_response_timeout`` of Nova instead.
""",
    ),
    cfg.IntOpt(
        'stall_timeout',
        default=300,
        advanced=True,
        min=1,
        help="""
Seconds after which the seeding or the copies of a guest fail if none of them
makes progress. The migration is then undone, and the guest is on its source
again.
""",
    ),
    cfg.IntOpt(
        'ready_timeout',
        default=0,
        min=0,
        help="""
Seconds until all copies of a guest must be ready. After that time the
migration is undone. 0 means no limit.
""",
    ),
    cfg.IntOpt(
        'pivot_timeout',
        default=120,
        advanced=True,
        min=1,
        help="""
Seconds that the pivot of all disks of a guest may take. If a copy fails after
another disk has pivoted, the engine starts the failed copy again. The time of
this second copy does not count.
""",
    ),
    cfg.IntOpt(
        'switchover_timeout',
        default=1800,
        advanced=True,
        min=1,
        help="""
Seconds that a live migration of memory by the engine itself may take: outside
of Nova, and of a guest that returns to its source. After that time the engine
aborts the migration of memory, and the guest goes on where it was. The
switchover in nova-compute has the limits of Nova. If an instance is deleted
while it moves, nova-compute waits as long for the end of the migration.
""",
    ),
]
