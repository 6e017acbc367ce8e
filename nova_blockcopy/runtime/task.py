# SPDX-License-Identifier: Apache-2.0
"""Work on a separate thread, so that the caller can go on at once.

The destination answers a message while its work goes on in a task. The lines
of a task have the guest and the request id of the thread that began it.
"""

import threading
from collections.abc import Callable
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)


class Task:
    """One piece of work on a thread of its own, which starts at once.

    When the task is done, ``result`` is the value that the work returned, or
    ``failure`` is its error. Any error but a :class:`BlockCopyError` becomes
    a :class:`PeerError`.

    :param name: for logs and for the thread
    :param work: a function that gets an event, and returns early once the
        event is set
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
            target=logging.carried(self._run),
            name=f'blockcopy-{name}',
            daemon=True,
        )
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether the work has ended."""
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Ask the work to end early; does not wait for its end."""
        self._cancelled.set()

    def wait(self, timeout: float) -> bool:
        """Wait for the end of the work.

        :param timeout: seconds
        :returns: whether the work has ended
        """
        self._thread.join(timeout)
        return self.done

    def _run(self) -> None:
        try:
            self.result = self._work(self._cancelled)
        except exception.BlockCopyError as e:
            self.failure = e
        except Exception as e:  # no caller on this thread could see the error
            LOG.exception('Task %s failed', self.name)
            self.failure = exception.TaskFailed(operation=self.name, reason=e)
