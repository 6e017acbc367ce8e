# SPDX-License-Identifier: Apache-2.0
"""The figures at the end of a migration that only the destination knows."""

from nova_blockcopy.host import switchover
from nova_blockcopy.host import usage
from nova_blockcopy.migration import status
from nova_blockcopy.migration.destination import copying
from nova_blockcopy.migration.destination import host as hosts
from nova_blockcopy.records import journal


def of(
    host: hosts.Host, record: journal.Record, copies: copying.Copying | None
) -> status.Totals:
    """Measure the bases, and how long the guest stood still.

    :param copies: those of this process; None if a restart has forgotten them
    """
    guest = host.here.find(record.guest)
    down_s = switchover.downtime_s(guest) if guest else None
    stop_s = None
    if down_s is not None and copies is not None:
        stop_s = max(down_s, copies.pauses.longest_stop_s)
    return status.Totals(
        allocated=usage.total(
            (move.base, move.size_bytes) for move in record.moves
        ),
        longest_stop_s=stop_s,
    )
