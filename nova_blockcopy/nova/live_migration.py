# SPDX-License-Identifier: Apache-2.0
"""One instance that leaves this host: the engine, seen from Nova.

The whole migration, up to the proven pivot, runs inside Nova's operation
thread, and Nova's monitor is shown a migration that is not over before
that. So Nova's own way back is open all the time: it still disconnects
volumes, unplugs interfaces and removes disks only when the guest is at home
on the other host, and a failure or an abort ends ACTIVE on this one.
"""

import enum
import threading
import time
from collections.abc import Callable
from typing import Any

import libvirt
from oslo_log import log as logging

from nova_blockcopy import exception
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.migration.source import migration as engine
from nova_blockcopy.nova import compat

LOG = logging.getLogger(__name__)


class Outcome(enum.Enum):
    OPEN = 'open'
    DONE = 'done'
    UNDONE = 'undone'
    ABORTED = 'aborted'
    STUCK = 'stuck'


class LiveMigration:
    """One live migration of one instance. Runs on the source.

    :param record: Nova's Migration object, for its figures
    """

    def __init__(self, record: Any) -> None:
        self.outcome = Outcome.OPEN
        self.reason = ''
        self._record = record
        self._saved_at = 0.0
        self._state = states.State.PREPARING
        self._migration: engine.Migration | None = None
        self._door = threading.Lock()
        self._aborted = False
        self._ended = threading.Event()

    def run(self, moving: engine.Migration) -> None:
        """Run the engine to its end; how it ended is the outcome.

        Nothing is raised: Nova's monitor decides by the outcome, and an
        error of this thread would put the instance into ERROR although
        everything was put back.
        """
        with self._door:
            self._migration = moving
            if self._aborted:
                moving.abort()
        try:
            moving.run()
        except (exception.Refused, exception.MigrationUndone) as e:
            LOG.warning('%s', e)
            aborted = isinstance(e.__cause__, exception.Aborted)
            self._end(Outcome.ABORTED if aborted else Outcome.UNDONE, e)
        except Exception as e:  # whatever it is, Nova must not clean up
            LOG.exception('The migration is stuck')
            self._end(Outcome.STUCK, e)
        else:
            self._end(Outcome.DONE, None)

    def refuse(self, error: Exception) -> None:
        """End it before the engine began."""
        self._end(Outcome.UNDONE, error)

    def abort(self) -> bool:
        """Ask for the way back; False if it is too late."""
        with self._door:
            self._aborted = True
            return self._migration is None or self._migration.abort()

    def wait(self, timeout: float) -> bool:
        """Wait at most so many seconds; tell whether it has ended."""
        return self._ended.wait(timeout)

    @property
    def switching(self) -> bool:
        """Whether Nova's own part, the memory, is what is under way."""
        return self._state is states.State.SWITCHING

    def note(self, now: progress.Progress) -> None:
        """Let Nova's API show how far the disks are."""
        changed = now.state is not self._state
        self._state = now.state
        interval = compat.monitor_interval()
        if not now.disks or not (
            changed or time.monotonic() - self._saved_at >= interval
        ):
            return
        self._saved_at = time.monotonic()
        self._record.disk_total = now.total_bytes
        self._record.disk_processed = now.processed_bytes
        self._record.disk_remaining = now.remaining_bytes
        self._record.save()

    def job_info(self, real: Callable[[], Any]) -> Any:
        """What Nova's monitor is to see of the guest's job.

        :param real: reads it from libvirt
        :raises MigrationError: it is stuck, so Nova must do nothing
        """
        kind = {
            Outcome.DONE: libvirt.VIR_DOMAIN_JOB_COMPLETED,
            Outcome.UNDONE: libvirt.VIR_DOMAIN_JOB_FAILED,
            Outcome.ABORTED: libvirt.VIR_DOMAIN_JOB_CANCELLED,
        }
        if self.outcome is Outcome.STUCK:
            raise compat.MigrationError(reason=self.reason)
        if self.outcome is not Outcome.OPEN:
            return compat.JobInfo(type=kind[self.outcome])
        if self.switching:
            info = real()
            if info.type == libvirt.VIR_DOMAIN_JOB_UNBOUNDED:
                return info
        # the guest may be gone from here already, but its disks are not
        return compat.JobInfo(type=libvirt.VIR_DOMAIN_JOB_NONE)

    def is_here(self, real: Callable[[], bool]) -> bool:
        """Whether Nova is to take the guest for running on this host.

        It asks when it finds that the operation has ended, which may be
        just after it saw one that was not over.

        :raises MigrationError: it is stuck, so Nova must do nothing
        """
        if self.outcome is Outcome.STUCK:
            raise compat.MigrationError(reason=self.reason)
        if self.outcome is Outcome.OPEN:
            return real()
        return self.outcome is not Outcome.DONE

    def _end(self, outcome: Outcome, error: Exception | None) -> None:
        self.reason = '' if error is None else str(error)
        self.outcome = outcome
        self._ended.set()


class WatchedGuest:
    """Nova's guest, as its monitor is to see it."""

    def __init__(self, guest: Any, moving: LiveMigration) -> None:
        self._guest = guest
        self._moving = moving

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guest, name)

    def is_active(self) -> bool:
        return self._moving.is_here(self._guest.is_active)

    def get_job_info(self) -> Any:
        return self._moving.job_info(self._guest.get_job_info)
