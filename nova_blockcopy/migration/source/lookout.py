# SPDX-License-Identifier: Apache-2.0
"""Looks at the guest, and at the room of the deltas, before each step.

The plan is made once and carried out for hours. Meanwhile other programs may
change the guest, and other guests may fill the file system. A
:class:`sentry.Sentry` watches the room between these looks.
"""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import plan
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import sight
from nova_blockcopy.host import switchover
from nova_blockcopy.migration import reservations
from nova_blockcopy.migration.source import disturbance
from nova_blockcopy.migration.source import ledger as ledgers
from nova_blockcopy.runtime import task
from nova_blockcopy.runtime import waiting

#: Seconds until a migration that was aborted usually has ended.
_PATIENCE = 5.0
#: Seconds between two looks during a switchover. libvirt starts the job of a
#: migration before the QEMU of the destination starts, which takes longer.
_TICK = 0.05
#: Seconds between two looks after that, for an abort.
_SLOW_TICK = 0.5
#: Seconds between two attempts to end a migration.
_ABORT_INTERVAL = 0.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lookout:
    """Guards the migration of one guest. Runs on the source.

    ``selection`` is the decision on each disk before the migration.
    """

    guest: hypervisor.Guest
    ledger: ledgers.Ledger
    selection: plan.Selection
    cancelled: threading.Event
    room: reservations.Reservations
    settings: conf.Settings

    def check(self) -> None:
        """Pass if no other program has changed the guest.

        Waits up to ``call_timeout`` for the end of a job of the whole guest,
        such as a dump.

        :raises Disturbed: another program has changed the guest
        :raises NoRoom: the deltas may not grow any more
        """
        self.check_room()
        timeout = self.settings.call_timeout
        if not waiting.until(
            lambda: self.guest.domain_job() is None, timeout=timeout
        ):
            raise self.guest.disturbed(
                f'it has a job ({self.guest.domain_job()}) that did not end '
                f'within {timeout} s. Wait until that job ends.'
            )
        self._check_guest()

    def check_room(self) -> None:
        """Pass if the deltas have room to grow, and to be merged.

        :raises NoRoom: too little is free
        :raises DeltasTooLarge: the deltas grow too large
        """
        if any(move.deltas for move in self.ledger.record.moves):
            self.room.check(self.ledger.record.migration)

    def through(self, switch: Callable[[], None]) -> None:
        """Run a switchover, and abort it if a check fails meanwhile.

        libvirt refuses most changes of a guest while it migrates the guest.
        So the guest is looked at once more after that migration has begun.

        :raises Disturbed: another program has changed the guest
        """
        watch = task.Task('lookout', self._watch)
        try:
            switch()
        finally:
            watch.cancel()
            watch.wait(self.settings.call_timeout)
            # the reason of a switchover that was aborted for it
            if watch.failure is not None:
                raise watch.failure

    def _watch(self, ended: threading.Event) -> None:
        looked = False
        while not ended.wait(_SLOW_TICK if looked else _TICK):
            if self.cancelled.is_set():
                # the switch of a caller may not see that
                self._see_off(ended)
                return
            try:
                if not looked and self.guest.migrating():
                    self._check_guest()
                    looked = True
            except exception.Disturbed:
                self._see_off(ended)
                raise
            except exception.HypervisorError:
                continue  # the guest has just left, or libvirt restarts

    def _see_off(self, ended: threading.Event) -> None:
        """Abort a migration, and see to it that QEMU ends."""
        patient_until = time.monotonic() + _PATIENCE
        while not ended.wait(_ABORT_INTERVAL):
            # the job may have just begun, or just ended
            with contextlib.suppress(exception.HypervisorError):
                self.guest.abort_migration()
                if time.monotonic() > patient_until:
                    switchover.release_cancelled(self.guest)

    def _check_guest(self) -> None:
        reason = disturbance.reason(
            self.guest.name,
            sight.look(self.guest),
            self.ledger.record.moves,
            self.selection,
        )
        if reason is not None:
            raise self.guest.disturbed(reason)
