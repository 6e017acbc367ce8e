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
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import libvirt

from nova_blockcopy import exception
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.migration.source import migration as engine
from nova_blockcopy.nova import action_event
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import figures
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
    the figures.

    :param shown: what Nova's API shows of the disks
    :param report: what Nova's API shows of the end
    :param facts: what Nova's part needs after a crash
    """

    def __init__(
        self,
        shown: figures.Figures,
        report: action_event.ActionEvent,
        facts: memo.Memo | None = None,
    ) -> None:
        self.memo = facts or memo.Memo()
        self.outcome = Outcome.OPEN
        self.error: Exception | None = None
        self._figures = shown
        self._event = report
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

    def give_up(self, error: BaseException) -> None:
        """Tell that Nova's part has failed, if the engine has not ended."""
        if self.outcome is Outcome.OPEN:
            self._event.end(error)

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
            raise compat.MigrationError(reason=str(self.error))
        if self.outcome is not Outcome.OPEN:
            return compat.JobInfo(type=kind[self.outcome])
        if self.switching:
            info = real()
            if info.type == libvirt.VIR_DOMAIN_JOB_UNBOUNDED:
                return self._figures.add_to(info)
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
            raise compat.MigrationError(reason=str(self.error))
        if self.outcome is Outcome.OPEN:
            return real()
        return self.outcome is not Outcome.DONE

    def _end(self, outcome: Outcome, error: Exception | None) -> None:
        # first, because Nova's part begins with the outcome
        self._event.end(error)
        self.error = error
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
