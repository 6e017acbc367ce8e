# SPDX-License-Identifier: Apache-2.0
"""An evacuation is refused while the guest may run on a third host.

The guest was migrating to that host when its own host went down. Nova does
not know that the guest may have arrived.
"""

from typing import Any

from nova_blockcopy import exception
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import database
from nova_blockcopy.nova import messages


def check(context: Any, instance: Any) -> None:
    """Pass if an instance that is evacuated to this host may be built.

    :raises MigrationError: its guest may run on another host
    :raises BlockCopyError: the other host cannot tell
    """
    if instance.task_state != compat.REBUILD_SPAWNING:
        return
    latest = database.latest_migration(context, instance.uuid)
    if latest is None or latest.dest_compute == compat.CONF.host:
        return
    try:
        guarded = messages.RemoteDriver(
            channel.RpcChannel(context, latest.dest_compute, questions=1)
        ).is_guarded(instance.uuid)
    except exception.NoPeer:
        return
    except exception.PeerError as e:
        if not database.is_in_progress(latest) or database.is_fenced(
            context, latest.dest_compute
        ):
            return
        raise compat.MigrationError(
            reason=f'cannot build instance {instance.uuid}: its guest may '
            f'run on {latest.dest_compute}, which does not answer. Bring that '
            f'host back; or make sure that the guest is off, and force the '
            f'nova-compute of that host down. {e}'
        ) from e
    if guarded:
        raise compat.MigrationError(
            reason=f'cannot build instance {instance.uuid}: its guest may '
            f'run on {latest.dest_compute}, which has a journal of its '
            f'migration. Settle that migration first.'
        )
