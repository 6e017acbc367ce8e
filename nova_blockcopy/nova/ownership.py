# SPDX-License-Identifier: Apache-2.0
"""Whether an instance still belongs to the hosts of its migration."""

from typing import Any

from nova_blockcopy import model
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import database
from nova_blockcopy.records import journal


def check(instance: Any, record: journal.Record) -> None:
    """Pass if Nova has the instance on a host of this migration.

    :raises MigrationError: Nova evacuates it or has evacuated it, and its
        guest must not run twice
    """
    hosts = [compat.CONF.host]
    if record.authority is model.Role.DESTINATION:
        hosts.append(record.peer)
    if instance.host not in hosts:
        raise compat.MigrationError(
            reason=f'the migration stopped in state {record.state}, and Nova '
            f'has the instance on {instance.host} now; find out which guest '
            f'and which disks of it are wanted.'
        )
    if instance.task_state not in database.IDLE:
        raise compat.MigrationError(
            reason=f'the instance is {instance.task_state}. Wait until Nova '
            f'has done that.'
        )
