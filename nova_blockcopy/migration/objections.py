# SPDX-License-Identifier: Apache-2.0
"""All reasons against a migration, in place of the first one."""

from collections.abc import Callable
from collections.abc import Iterable
from typing import TypeVar

from nova_blockcopy import exception

T = TypeVar('T')
Check = Callable[[], object]

#: Errors with which a guest can still be moved in direct mode.
AGAINST_SEEDING = (exception.NoRoom, exception.UnsafeDirectory)


class Objections:
    """Collects the errors of checks that go on after an error.

    ``refusals`` are against any migration, and ``unseeded`` only against
    seeded mode.
    """

    def __init__(self) -> None:
        self.refusals: list[str] = []
        self.unseeded: list[str] = []

    def of(self, check: Callable[[], T]) -> T | None:
        """Make a check, and return its result; None if it fails."""
        try:
            return check()
        except exception.BlockCopyError as e:
            self.add([e])
            return None

    def add(self, errors: Iterable[exception.BlockCopyError]) -> None:
        """Note errors. The same sentence counts once."""
        for error in errors:
            seeding = isinstance(error, AGAINST_SEEDING)
            notes = self.unseeded if seeding else self.refusals
            if str(error) not in notes:
                notes.append(str(error))
