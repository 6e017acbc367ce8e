# SPDX-License-Identifier: Apache-2.0
"""One live migration away from this host, as Nova sees it.

The engine runs inside Nova's operation thread, from the first check to the
verified pivot. Until then Nova's monitor sees a job that is not over. So
Nova disconnects volumes, unplugs interfaces and removes disks on the source
only when the guest no longer needs them, and after a failure or an abort the
instance is ACTIVE on the source.
"""

import contextlib
import enum
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import libvirt

from nova_blockcopy import exception
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.migration.source import migration as engine
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import memo
from nova_blockcopy.records import journal
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

_BEFORE_SWITCHOVER = (
    states.State.PREPARING,
    states.State.FREEZING,
    states.State.SEEDING,
    states.State.EXPORTING,
)
#: The name of the threads that save figures.
SAVER = 'nova-blockcopy-figures'
#: Seconds between two looks at the state, as between two of Nova's monitor.
_TICK = 0.5


class Outcome(enum.Enum):
    """How a live migration has ended."""

    OPEN = 'open'
    DONE = 'done'
    UNDONE = 'undone'
    ABORTED = 'aborted'
    STUCK = 'stuck'


class LiveMigration:
    """One live migration of one instance. Runs on the source.

    The engine says in which state the migration is. Its reports only update
    Nova's figures.

    :param record: Nova's ``Migration`` object
    :param facts: what Nova's part needs after a crash
    """

    def __init__(self, record: Any, facts: memo.Memo | None = None) -> None:
        self.memo = facts or memo.Memo()
        self.outcome = Outcome.OPEN
        self.reason = ''
        self._figures = _Figures(record)
        self._migration: engine.Migration | None = None
        self._door = threading.Lock()
        self._aborted = False
        self._ended = threading.Event()
        self._operates = False
        self._heir: Callable[[], None] | None = None

    def run(self, migration: engine.Migration) -> None:
        """Run the engine to its end, and set the outcome.

        This raises nothing. Nova's monitor decides by the outcome, and an
        error of this thread would put the instance into ERROR even if the
        engine has put everything back.
        """
        with self._door:
            self._migration = migration
            if self._aborted:
                migration.abort()
        try:
            migration.run()
        except (exception.Refused, exception.MigrationUndone) as e:
            aborted = isinstance(e.__cause__, exception.Aborted)
            (LOG.info if aborted else LOG.warning)('%s', e)
            self._end(Outcome.ABORTED if aborted else Outcome.UNDONE, e)
        except exception.MigrationStuck as e:
            LOG.error('%s', e)
            self._end(Outcome.STUCK, e)
        except Exception as e:  # whatever it is, Nova must not clean up
            LOG.exception('The migration is stuck')
            self._end(Outcome.STUCK, e)
        else:
            self._end(Outcome.DONE, None)

    def refuse(self, error: Exception) -> None:
        """End the live migration before the engine begins."""
        self._end(Outcome.UNDONE, error)

    def abort(self) -> bool:
        """Ask the engine to undo the migration.

        :returns: False if the pivot has begun, so it is too late
        """
        with self._door:
            self._aborted = True
            return self._migration is None or self._migration.abort()

    def wait(self, timeout: float) -> bool:
        """Wait for the end.

        :param timeout: seconds
        :returns: whether the live migration has ended
        """
        return self._ended.wait(timeout)

    @contextlib.contextmanager
    def operating(self) -> Iterator[None]:
        """While Nova's operation thread is at work."""
        with self._door:
            self._operates = True
        try:
            yield
        finally:
            self._ended.set()
            with self._door:
                self._operates = False
                heir = self._heir
            if heir is not None:
                heir()

    def leave_to(self, heir: Callable[[], None]) -> None:
        """Have somebody else end what Nova's monitor has given up.

        :param heir: called when Nova's operation thread is at work no longer
        """
        with self._door:
            self._heir = heir
            operates = self._operates
        if not operates:
            heir()

    def wait_for_switchover(self) -> None:
        """Wait until the switchover begins, or the operation has ended.

        Nova's monitor counts ``live_migration_completion_timeout`` and the
        steps of the downtime from its own begin, and by the guest's memory
        alone. So it begins with the memory, however long the disks take.
        """
        while not self._past_seeding() and not self.wait(_TICK):
            pass

    def _past_seeding(self) -> bool:
        migration = self._migration
        return migration is not None and (
            migration.state not in _BEFORE_SWITCHOVER
        )

    def owns(self, record: journal.Record) -> bool:
        """Whether a record of this host's journal is of this migration."""
        migration = self._migration
        return migration is not None and migration.id == record.migration

    @property
    def switching(self) -> bool:
        """Whether libvirt migrates the memory now, by Nova's operation."""
        migration = self._migration
        return migration is not None and (
            migration.state is states.State.SWITCHING
        )

    def note(self, now: progress.Progress) -> None:
        """Update the figures that Nova's API shows."""
        self._figures.update(now)

    def job_info(self, real: Callable[[], Any]) -> Any:
        """The job that Nova's monitor sees.

        :param real: reads the guest's job from libvirt
        :raises MigrationError: the migration is stuck, so Nova must neither
            go on nor roll back
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
        # the guest may have left this host, but its disks are still here
        return compat.JobInfo(type=libvirt.VIR_DOMAIN_JOB_NONE)

    def is_here(self, real: Callable[[], bool]) -> bool:
        """Whether Nova's monitor sees the guest as running on this host.

        Nova asks after it has seen a job that was not over, and then finds
        that the operation has ended (``find_job_type`` in
        nova/virt/libvirt/migration.py).

        :param real: asks libvirt
        :raises MigrationError: the migration is stuck, so Nova must neither
            go on nor roll back
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
    """Nova's guest, as Nova's monitor sees it."""

    def __init__(self, guest: Any, migration: LiveMigration) -> None:
        self._guest = guest
        self._migration = migration

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guest, name)

    def is_active(self) -> bool:
        return self._migration.is_here(self._guest.is_active)

    def get_job_info(self) -> Any:
        return self._migration.job_info(self._guest.get_job_info)


class _Figures:
    """The bytes in Nova's record of a live migration.

    A thread of their own saves them, one save at a time, because a save waits
    for the conductor. If that does not answer, the engine must go on: the
    guest may need both hosts.

    :param record: Nova's ``Migration`` object. Nova changes and saves it in
        other threads, so each save has a copy.
    """

    def __init__(self, record: Any) -> None:
        # without figures, so that all of them are changes: Nova saves those
        # of libvirt's job during the switchover
        self._blank = record.obj_clone()
        self._blank.disk_total = None
        self._blank.disk_processed = None
        self._blank.disk_remaining = None
        self._blank.obj_reset_changes()
        self._saved_at = 0.0
        self._state = states.State.PREPARING
        self._door = threading.Lock()
        self._unsaved: progress.Progress | None = None
        self._saves = False

    def update(self, now: progress.Progress) -> None:
        """Save them in each new state, and else once in Nova's interval."""
        changed = now.state is not self._state
        self._state = now.state
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
        save = logging.carried(self._save)
        threading.Thread(target=save, name=SAVER, daemon=True).start()

    def _save(self) -> None:
        """Save the latest figures, until there are no later ones."""
        while (now := self._next()) is not None:
            record = self._blank.obj_clone()
            record.disk_total = now.total_bytes
            record.disk_processed = now.processed_bytes
            record.disk_remaining = now.remaining_bytes
            try:
                record.save()
            except Exception as e:  # the next ones may be saved
                LOG.warning('The progress of a migration is not saved: %s', e)

    def _next(self) -> progress.Progress | None:
        with self._door:
            now, self._unsaved = self._unsaved, None
            self._saves = now is not None
            return now
