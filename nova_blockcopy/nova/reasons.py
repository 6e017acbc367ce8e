# SPDX-License-Identifier: Apache-2.0
"""Reasons, as Nova's API shows them.

Nova keeps the first 255 bytes of the message of an error, and of an error of
another class than its own only the name (``exception_to_dict`` in
nova/compute/utils.py). It does so for the events of an action and for faults.
"""

from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import summary
from nova_blockcopy.nova import compat
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

#: Bytes that Nova keeps of a message.
ROOM = 255


def refusal(reason: object) -> Any:
    """The error with which a check refuses a live migration.

    :returns: a ``MigrationPreCheckError``, which the caller raises
    """
    return _made(compat.MigrationPreCheckError, reason)


def failure(reason: object) -> Any:
    """The error with which this host gives a live migration up.

    :returns: a ``MigrationError``, which the caller raises
    """
    return _made(compat.MigrationError, reason)


def shown(error: BaseException) -> str:
    """The text for the end of a live migration."""
    cause = error.__cause__
    if type(error) is exception.MigrationUndone and cause is not None:
        return summary.shorten(f'Rolled back: {cause}', ROOM)
    return summary.shorten(str(error) or type(error).__name__, ROOM)


def _made(kind: Any, reason: object) -> Any:
    whole = str(reason) or type(reason).__name__
    short = summary.shorten(whole, ROOM - len(str(kind(reason=''))))
    if short != whole:
        LOG.warning('Nova shows only a part of this reason: %s', whole)
    return kind(reason=short)
