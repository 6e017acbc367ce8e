# SPDX-License-Identifier: Apache-2.0
"""Work on a thread of its own, so that a peer's question is answered fast."""

import threading
from collections.abc import Callable
from typing import Any

from oslo_log import log as logging

from nova_blockcopy import exception

LOG = logging.getLogger(__name__)


class Task:
    """One piece of work that can be cancelled, and how it went.

    :param name: for logs and for the thread
    :param work: called with the event that tells it to stop early
    """

    def __init__(
        self, name: str, work: Callable[[threading.Event], Any]
    ) -> None:
        self.name = name
        self.result: Any = None
        self.failure: exception.BlockCopyError | None = None
        self._work = work
        self._cancelled = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f'blockcopy-{name}', daemon=True
        )
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def cancel(self) -> None:
        self._cancelled.set()

    def wait(self, timeout: float) -> bool:
        """Wait at most so many seconds; tell whether it is done."""
        self._thread.join(timeout)
        return self.done

    def _run(self) -> None:
        try:
            self.result = self._work(self._cancelled)
        except exception.BlockCopyError as e:
            self.failure = e
        except Exception as e:  # thread entry: nobody else would see it
            LOG.exception('Task %s failed', self.name)
            self.failure = exception.PeerError(operation=self.name, reason=e)
