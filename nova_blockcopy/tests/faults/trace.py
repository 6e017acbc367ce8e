# SPDX-License-Identifier: Apache-2.0
"""The trace of a service: one JSON line for each event, which survives kills.

The events, by their first key:

* ``wrote``: the state of a journal that was written, with ``role``,
  ``authority`` and ``note``
* ``held``: the state at which a migration waits for its release
* ``closed``: the guest whose journal was removed
* ``ended``: how a migration ended, with ``reason``
* ``settled``: the side that a settled guest belongs to
* ``unsettled``: the reason why an attempt to settle failed
* ``unreadable``: the reason why a journal cannot be read
"""

import json
import os
import pathlib
from typing import Any

Event = dict[str, Any]


class Trace:
    """The trace of one host.

    :param path: of the file, which need not exist yet
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def add(self, **event: Any) -> None:
        """Append an event. Several threads may do so."""
        line = json.dumps(event) + '\n'
        fd = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)

    def events(self, kind: str = '') -> list[Event]:
        """Return the events so far.

        :param kind: only events with this key; '' for all events
        """
        if not self._path.exists():
            return []
        found = [json.loads(line) for line in self._path.open()]
        return [event for event in found if not kind or kind in event]

    def clear(self) -> None:
        """Forget all events."""
        self._path.unlink(missing_ok=True)
