# SPDX-License-Identifier: Apache-2.0
"""The settlement of one migration while nova-compute does not run.

``nova-blockcopy settle`` runs this module as a program of its own, because
only this layer imports Nova. The program talks to the destination over Nova's
RPC, as nova-compute does. The part of Nova stays for nova-compute. The output
is one line of JSON.
"""

import json
import sys
from collections.abc import Sequence

import oslo_messaging
from oslo_config import cfg

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration.source import recovery
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import database
from nova_blockcopy.nova import ownership
from nova_blockcopy.nova import settings
from nova_blockcopy.records import journal


def settle(guest: str, files: Sequence[str]) -> model.Role:
    """Have the engine do its part. Runs on the source.

    :param guest: UUID
    :param files: ``--config-file`` and ``--config-dir`` of nova-compute
    :returns: the host whose disks the guest uses now; the journal stays open,
        in state SETTLED
    :raises BlockCopyError: see ``recovery.settle``
    :raises NovaException: Nova does not answer, or has the instance elsewhere
    """
    settings.register()
    compat.join(files)
    found = settings.read(compat.LibvirtDriver._uri())
    record = journal.Journal(found.journal_dir).find(guest)
    if record is None:
        raise exception.NotMigrating(
            instance=guest, host=compat.CONF.host, directory=found.journal_dir
        )
    context = database.admin_context()
    ownership.check(database.instance(context, guest), record)
    connect = hypervisor.Connector(found.connection_uri)
    return recovery.settle(
        record,
        hypervisor.Hypervisor(compat.CONF.host, connect),
        channel.RpcChannel(context, record.peer, questions=1),
        found,
    )


def main() -> None:
    """Print the side that the guest is on, or why nobody knows."""
    guest, *files = sys.argv[1:]
    try:
        said = {'authority': str(settle(guest, files))}
    except (
        cfg.Error,
        compat.NovaException,
        exception.BlockCopyError,
        oslo_messaging.MessagingException,
    ) as e:
        said = {'reason': str(e)}
    json.dump(said, sys.stdout)


if __name__ == '__main__':
    main()
