# SPDX-License-Identifier: Apache-2.0
"""The figures of a live migration that Nova's API shows."""

import threading
import time
from typing import Any

from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.nova import compat
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

#: The name of the threads that save figures.
SAVER = 'nova-blockcopy-figures'


class Figures:
    """The bytes of the disks in Nova's record, and the instance's progress.

    A thread of their own saves them, one save at a time, because a save waits
    for the conductor. If that does not answer, the engine must go on: the
    guest may need both hosts.

    :param record: Nova's ``Migration`` object. Nova changes and saves it in
        other threads, so each save has a copy.
    :param context: of the request for the live migration
    :param guest: UUID
    """

    def __init__(self, record: Any, context: Any, guest: str) -> None:
        # without figures, so that all of them are changes: Nova saves its
        # own during the switchover
        self._blank = record.obj_clone()
        self._blank.disk_total = None
        self._blank.disk_processed = None
        self._blank.disk_remaining = None
        self._blank.obj_reset_changes()
        self._context = context
        self._guest = guest
        self._saved_at = 0.0
        self._latest = progress.Progress(state=states.State.PREPARING)
        self._door = threading.Lock()
        self._unsaved: progress.Progress | None = None
        self._saves = False

    def update(self, now: progress.Progress) -> None:
        """Save them in each new state, and else once in Nova's interval."""
        changed = now.state is not self._latest.state
        self._latest = now
        interval = compat.monitor_interval()
        if not now.disks or not (
            changed or time.monotonic() - self._saved_at >= interval
        ):
            return
        self._saved_at = time.monotonic()
        with self._door:
            self._unsaved = now
            if self._saves:
                return
            self._saves = True
        work = logging.carried(self._work)
        threading.Thread(target=work, name=SAVER, daemon=True).start()

    def add_to(self, job: Any) -> Any:
        """Put the bytes of the disks into a job of libvirt, which has none.

        Nova's monitor saves them together with those of the memory.

        :param job: Nova's ``JobInfo``
        :returns: the same job
        """
        job.disk_total = self._latest.total_bytes
        job.disk_processed = self._latest.processed_bytes
        job.disk_remaining = self._latest.remaining_bytes
        return job

    def _work(self) -> None:
        """Save the latest figures, until there are no later ones."""
        while (now := self._next()) is not None:
            for save in (self._save_bytes, self._save_progress):
                try:
                    save(now)
                except Exception as e:  # the next ones may be saved
                    LOG.warning(
                        'The progress of a migration is not saved: %s', e
                    )

    def _save_bytes(self, now: progress.Progress) -> None:
        record = self._blank.obj_clone()
        record.disk_total = now.total_bytes
        record.disk_processed = now.processed_bytes
        record.disk_remaining = now.remaining_bytes
        record.save()

    def _save_progress(self, now: progress.Progress) -> None:
        """Save the per cent, unless Nova has ended its own part.

        Nova then sets the per cent to 0 and has no task, in one save.
        """
        instance = compat.Instance(context=self._context, uuid=self._guest)
        instance.obj_reset_changes()
        instance.progress = now.percent
        instance.save(expected_task_state=[compat.MIGRATING])

    def _next(self) -> progress.Progress | None:
        with self._door:
            now, self._unsaved = self._unsaved, None
            self._saves = now is not None
            return now
