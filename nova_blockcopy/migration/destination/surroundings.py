# SPDX-License-Identifier: Apache-2.0
"""The knowledge of the engine's caller about the host of a destination."""

import dataclasses
from typing import Protocol

from nova_blockcopy import appraisal


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The room for the bases of a guest, and reasons to make none here."""

    rooms: tuple[appraisal.Room, ...] = ()
    refusals: tuple[str, ...] = ()


class Surroundings(Protocol):
    """The caller makes the bases, so it knows where they will be."""

    def address(self) -> str:
        """Return the address of this host's libvirt; '' if not known."""

    def survey(self, guest: str, needs: tuple[appraisal.Need, ...]) -> Found:
        """Look where the bases of a guest would be, and change nothing.

        :param guest: UUID
        """


class Unknown:
    """For a caller that makes bases before it asks the engine."""

    def address(self) -> str:
        return ''

    def survey(self, _guest: str, _needs: tuple[appraisal.Need, ...]) -> Found:
        return Found()
