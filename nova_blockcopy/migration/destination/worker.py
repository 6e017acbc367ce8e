# SPDX-License-Identifier: Apache-2.0
"""The tasks of one migration on the destination, one at a time."""

import functools
import threading
from collections.abc import Callable
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy.migration import peer
from nova_blockcopy.migration import status
from nova_blockcopy.records import lock
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import task

LOG = logging.getLogger(__name__)

#: Tasks that the source orders again after it got no answer.
_INSISTED = ('pivot',)


class Worker:
    """Runs the tasks that the source orders for one migration.

    :param guest: UUID
    :param directory: the directory of the journals
    """

    def __init__(self, guest: str, directory: str) -> None:
        self._guest = guest
        self._directory = directory
        self._task: task.Task | None = None

    def begin(
        self,
        name: str,
        work: Callable[[threading.Event], Any],
        *,
        alone: bool = True,
    ) -> peer.Message:
        """Begin a task.

        :param work: called with an event that asks to stop early
        :param alone: keep the commands of an operator from acting meanwhile
        :returns: the answer to the source
        :raises PeerError: the last task still runs
        """
        if self._task is not None and not self._task.done:
            if name == self._task.name and name in _INSISTED:
                return {}
            raise exception.PeerError(
                operation=name, reason=f'{self._task.name} still runs.'
            )
        if alone:
            work = functools.partial(self._alone, name, work)
        return self._start(name, work)

    def _alone(
        self,
        name: str,
        work: Callable[[threading.Event], Any],
        cancelled: threading.Event,
    ) -> Any:
        try:
            with lock.held(self._directory, self._guest):
                return work(cancelled)
        except exception.MigrationLocked as e:
            raise exception.PeerError(operation=name, reason=e) from e

    def _start(
        self, name: str, work: Callable[[threading.Event], Any]
    ) -> peer.Message:
        def logged(cancelled: threading.Event) -> Any:
            try:
                return work(cancelled)
            except exception.Aborted as e:
                LOG.info('Task %s has ended: %s', name, e)
                raise
            except exception.BlockCopyError as e:
                LOG.warning('Task %s has failed: %s', name, e)
                raise

        self._task = task.Task(name, logged)
        return {}

    def cancel(self) -> None:
        """Ask the running task to stop early."""
        if self._task is not None:
            self._task.cancel()

    def abort(
        self, work: Callable[[threading.Event], Any], timeout: float
    ) -> peer.Message:
        """Cancel the running task, and begin to clean up after its end.

        :param timeout: seconds until the old task must have ended
        :returns: the answer to the source
        """
        before, self._task = self._task, None
        if before is not None:
            before.cancel()

        def abort(cancelled: threading.Event) -> Any:
            if before is not None and not before.wait(timeout):
                raise exception.PeerError(
                    operation='abort',
                    reason=f'{before.name} does not end within {timeout} s.',
                )
            return self._alone('abort', work, cancelled)

        return self._start('abort', abort)

    def status(self) -> status.Task:
        """Describe the last task."""
        work = self._task
        if work is None:
            return status.Task(name=None, done=True)
        return status.Task(
            name=work.name,
            done=work.done,
            result=work.result if work.done else None,
            failure=peer.failure(work.failure),
        )
