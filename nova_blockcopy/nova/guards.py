# SPDX-License-Identifier: Apache-2.0
"""The journal of this host forbids Nova some operations on an instance.

Nova does not know that a guest may be between two hosts. Each of its ways to
delete, start or copy an instance could hit the only good disks, or disks
that are not complete.
"""

from collections.abc import Callable
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.nova import compat
from nova_blockcopy.records import expected
from nova_blockcopy.records import journal


def is_left(record: journal.Record) -> bool:
    """Whether the disks on this host are only copies that Nova removes.

    The engine has proven that the guest uses the disks of the other host.
    """
    return (
        record.state is states.State.SETTLED
        and record.authority is not record.role
    )


def is_home(record: journal.Record, instance: Any) -> bool:
    """Whether the guest has come to an end here, and Nova knows that."""
    return (
        record.state is states.State.SETTLED
        and record.authority is record.role
        and instance.host == compat.CONF.host
    )


#: Gives the reason why a record forbids an operation; None if it does not.
Rule = Callable[[journal.Record], str | None]


def forbids_removal(record: journal.Record) -> str | None:
    """Why this host's disks of an instance must stay; None if they may go."""
    if is_left(record):
        return None
    if record.role is model.Role.SOURCE:
        return (
            f'its disks are being migrated from this host to {record.peer} '
            f'(state {record.state})'
        )
    if (
        record.pivoted
        or record.authority is model.Role.DESTINATION
        or record.state in states.IRREVERSIBLE
    ):
        return (
            f'it was migrated here from {record.peer}, and its disks here may '
            f'be the only good ones (state {record.state})'
        )
    return None


def forbids_destruction(record: journal.Record) -> str | None:
    """Why an instance must not be destroyed here; None if it may be.

    Until Nova has done its part, its record names the source. If Nova
    destroyed the instance there, the guest would run on for some time.
    """
    if record.role is model.Role.SOURCE and is_left(record):
        return (
            f'its guest runs on {record.peer}, and Nova does not have it '
            f'there yet'
        )
    return forbids_removal(record)


def forbids_start(record: journal.Record) -> str:
    """Why an instance must not be started on this host."""
    if record.role is model.Role.SOURCE:
        return (
            f'it is being migrated (state {record.state}), and it may run on '
            f'the other host'
        )
    return (
        f'it is being migrated (state {record.state}), and its disks on this '
        f'host are not complete'
    )


def forbids_use(record: journal.Record) -> str:
    """Why an instance's disks on this host must not be read or changed."""
    return f'it is being migrated (state {record.state})'


class Guard:
    """Asks the journal of this host before Nova acts on an instance.

    :param records: the journal
    :param notes: the guests that this host has empty bases for
    """

    def __init__(
        self, records: journal.Journal, notes: expected.Expected
    ) -> None:
        self._journal = records
        self._expected = notes

    def record(self, guest: str) -> journal.Record | None:
        """The record that forbids something with a guest, if there is one.

        :param guest: UUID
        :raises JournalError: the journal cannot be read
        """
        return self._journal.find(guest)

    def check_removal(self, instance: Any) -> None:
        """Pass if Nova may remove the instance's disks on this host.

        :raises MigrationError: the journal forbids it
        """
        self._check(instance, forbids_removal, 'remove')

    def check_destruction(self, instance: Any) -> None:
        """Pass if Nova may destroy the instance on this host.

        :raises MigrationError: the journal forbids it
        """
        self._check(instance, forbids_destruction, 'destroy')

    def check_move(self, instance: Any, action: str) -> None:
        """Pass if Nova may move the instance away from this host.

        :param action: a verb for the message
        :raises MigrationError: this host has a journal of the instance
        """
        self._check(instance, forbids_use, action, at_home=False)

    def check_use(self, instance: Any, action: str) -> None:
        """Pass if Nova may read or change the instance's disks here.

        :param action: a verb for the message
        :raises MigrationError: the journal forbids it
        """
        self._check(instance, forbids_use, action)

    def check_start(self, instance: Any, action: str) -> None:
        """Pass if Nova may start the instance on this host.

        :param action: a verb for the message
        :raises MigrationError: the journal forbids it, or the disks here are
            empty
        """
        self._check(instance, forbids_start, action)
        try:
            source = self._expected.find(instance.uuid)
        except exception.NoteError as e:
            raise compat.MigrationError(
                reason=f'cannot {action} instance {instance.uuid}: its disks '
                f'on this host may be empty. {e} If the instance is at home '
                f'here, remove the note.'
            ) from e
        if source is not None:
            raise compat.MigrationError(
                reason=f'cannot {action} instance {instance.uuid}: this host '
                f'has only empty disks of it, made for a migration that has '
                f'not begun. Start nova-compute on the source.'
            )

    def _check(
        self, instance: Any, rule: Rule, action: str, *, at_home: bool = True
    ) -> None:
        try:
            record = self.record(instance.uuid)
        except exception.JournalError as e:
            raise compat.MigrationError(
                reason=f'cannot {action} instance {instance.uuid}: {e}'
            ) from e
        if record is None or (at_home and is_home(record, instance)):
            return
        reason = rule(record)
        if reason is not None:
            raise compat.MigrationError(
                reason=f'cannot {action} instance {instance.uuid}: {reason}. '
                f'Wait until the migration has ended.'
            )
