# SPDX-License-Identifier: Apache-2.0
"""Watches the room of the deltas until the pivot.

QEMU pauses a guest whose delta cannot grow, and the neighbours on the same
file system with it.
"""

import contextlib
import threading
from collections.abc import Callable
from collections.abc import Iterator

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import states
from nova_blockcopy.migration import reservations
from nova_blockcopy.migration.source import ledger as ledgers
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import task

LOG = logging.getLogger(__name__)

#: Seconds between two looks, at most; see :data:`room.HORIZON_S`.
_INTERVAL = 1.0


class Sentry:
    """Watches the room of one migration. Runs on the source.

    :param abort: asks to undo the migration; returns False if it is too late
    """

    def __init__(
        self,
        ledger: ledgers.Ledger,
        settings: conf.Settings,
        abort: Callable[[], bool],
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._abort = abort
        self._failure: exception.BlockCopyError | None = None

    @contextlib.contextmanager
    def on_guard(self) -> Iterator[None]:
        """Watch while the steps run, and end them if room gets short.

        :raises NoRoom: a file system has too little free space
        :raises DeltasTooLarge: the deltas grow too large
        """
        watch = task.Task('room', self._watch)
        try:
            yield
        finally:
            watch.cancel()
            watch.wait(self._settings.call_timeout)
            # the reason of an abort that a step has noticed
            if self._failure is not None:
                raise self._failure

    def _watch(self, ended: threading.Event) -> None:
        room = reservations.Reservations(self._settings)
        interval = min(self._settings.poll_interval, _INTERVAL)
        while not ended.wait(interval):
            record = self._ledger.record
            if record.state not in states.REVERSIBLE:
                return
            if not any(move.deltas for move in record.moves):
                continue
            try:
                room.check(record.migration)
            except (exception.NoRoom, exception.DeltasTooLarge) as e:
                if self._abort():
                    self._failure = e
                return
            except exception.BlockCopyError as e:
                LOG.debug('The room of the deltas is not known: %s', e)
