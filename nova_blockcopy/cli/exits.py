# SPDX-License-Identifier: Apache-2.0
"""The exit codes of ``nova-blockcopy``. Pure."""

import enum

from nova_blockcopy import exception


class Exit(enum.IntEnum):
    """How a command has ended. cliff itself uses 2 for wrong arguments."""

    DONE = 0
    #: The command was refused, or what it tried has failed.
    FAILED = 1
    USAGE = 2
    #: This host has no migration of the instance.
    NOT_FOUND = 3
    #: No running nova-compute of this host could take the order.
    NO_ENGINE = 4
    #: The person said no.
    DECLINED = 5
    #: ``plan``: a host refuses the migration.
    REFUSED = 6
    #: ``plan``: nothing is known against it, but a host was not asked.
    UNKNOWN = 7
    #: The configuration cannot be read.
    BROKEN = 255


def of(error: exception.BlockCopyError) -> Exit:
    """Return the exit code for an error."""
    if isinstance(error, exception.NotMigrating):
        return Exit.NOT_FOUND
    if isinstance(error, exception.NoEngine):
        return Exit.NO_ENGINE
    if isinstance(error, exception.Declined):
        return Exit.DECLINED
    return Exit.FAILED
