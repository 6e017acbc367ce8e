# SPDX-License-Identifier: Apache-2.0
"""The caller of the engine decides what a source may ask of this host."""

from collections.abc import Collection
from typing import Protocol

from nova_blockcopy import model


class Trust(Protocol):
    """The caller's knowledge of a migration to this host.

    The engine alone knows no more about a source than its messages say.
    """

    def check_bases(
        self, guest: str, source: str, paths: Collection[str]
    ) -> None:
        """Pass if images of this host were made for a guest.

        :param guest: UUID
        :param source: the name of the source
        :raises Untrusted: an image was not
        """

    def check_home(self, home: model.Endpoint) -> None:
        """Pass if this host's libvirt may send a guest there.

        :raises Untrusted: it may not
        """

    def check_left_alone(self, paths: Collection[str]) -> None:
        """Pass if a source may ask whether paths exist on this host.

        :raises Untrusted: it may not
        """


class Everything:
    """For a caller that answers for all sources itself."""

    def check_bases(
        self, guest: str, source: str, paths: Collection[str]
    ) -> None:
        pass

    def check_home(self, home: model.Endpoint) -> None:
        pass

    def check_left_alone(self, paths: Collection[str]) -> None:
        pass
