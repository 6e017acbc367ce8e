# SPDX-License-Identifier: Apache-2.0
"""The guests that a destination has made bases for, and no journal yet.

Between Nova's ``pre_live_migration`` on the destination and the engine's
first message there is nothing that tells what these bases are: neither to the
source, if its nova-compute is killed then, nor to an evacuation, which would
take them for the disks of an instance that both hosts share.
"""

import os
import pathlib
from collections.abc import Iterable

from nova_blockcopy.records import durable


class Expected:
    """One host's notes: a file for each guest. Runs on the destination.

    :param directory: of the journals
    """

    def __init__(self, directory: str) -> None:
        self._directory = pathlib.Path(directory) / 'expected'

    def note(self, guest: str, source: str, paths: Iterable[str]) -> None:
        """Note that bases are about to be made, durably.

        :param guest: UUID
        :param source: the name in Nova of the host that it is on
        :param paths: of the bases
        """
        durable.write(
            self._path(guest), {'source': source, 'paths': list(paths)}
        )

    def find(self, guest: str) -> str | None:
        """The host that a guest is expected from.

        None if there is no note, or nothing any more of what it tells of.
        """
        found = durable.read(self._path(guest))
        if found is None or not any(
            os.path.lexists(path) for path in found['paths']
        ):
            return None
        return str(found['source'])

    def forget(self, guest: str) -> None:
        """Forget a guest; done twice is done once."""
        durable.remove(self._path(guest))

    def _path(self, guest: str) -> str:
        return str(self._directory / f'{os.path.basename(guest)}.json')
