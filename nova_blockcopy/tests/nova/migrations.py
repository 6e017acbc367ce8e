# SPDX-License-Identifier: Apache-2.0
"""Migrations of the engine that end as a test tells them to."""

from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import states


class EndingMigration:
    """An engine's migration that ends as it is told to."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = errors
        self.reversible = True
        self.state = states.State.PREPARING
        self.aborts = 0
        self.id = 'm1'

    def run(self) -> None:
        for error in self.errors:
            raise error

    def abort(self) -> bool:
        self.aborts += 1
        return self.reversible


def ending(*errors: BaseException) -> Any:
    return EndingMigration(*errors)


def undone(cause: Exception) -> exception.MigrationUndone:
    error = exception.MigrationUndone(guest='guest', reason=cause)
    error.__cause__ = cause
    return error


ABORTED = undone(exception.Aborted(guest='guest'))
FAILED = undone(exception.JobFailed(disk='vda', reason='so'))
STUCK = exception.MigrationStuck(
    guest='guest', state='pivoting', reason='so.', path='/j'
)
REFUSED = exception.GuestBusy(
    guest='guest', host='a', reason='disk vda has a block copy.'
)


class ActingMigration(EndingMigration):
    """An engine's migration that does what it is told to when it runs."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.act = act

    def run(self):
        self.act(self)
