# SPDX-License-Identifier: Apache-2.0
"""After a crash of nova-compute, half-done migrations come to an end.

The reconciler runs in ``init_host``, before Nova looks at its instances. Nova
can then neither start an instance nor clean up after it before its migration
is settled. A thread does the work. ``init_host`` waits for its first attempts,
but not for long: a service manager ends a nova-compute that does not come up.
If a migration cannot be settled yet, mostly because the other host does not
answer, the thread tries again.
"""

import collections
import contextlib
import threading
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.migration import control
from nova_blockcopy.migration import peer
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import database
from nova_blockcopy.nova import guards
from nova_blockcopy.nova import memo
from nova_blockcopy.nova import patience as patiences
from nova_blockcopy.nova import relay
from nova_blockcopy.nova import service
from nova_blockcopy.nova import settlement
from nova_blockcopy.records import journal
from nova_blockcopy.records import report
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import waiting

LOG = logging.getLogger(__name__)

#: Seconds that the start of nova-compute waits for the first attempts. systemd
#: gives a service 90 s to start (DefaultTimeoutStartSec), and Nova needs
#: time, too.
_PATIENCE = 20
#: Seconds between two attempts, after the first one and at most.
_PAUSE = 10
_LONGEST = 60
#: Seconds that an operator waits for the end of an attempt.
_LONGEST_ATTEMPT = 600
#: The name of the thread that settles in the background.
THREAD = 'nova-blockcopy-settle'
#: Errors that are logged without a traceback.
_EXPECTED = (exception.BlockCopyError, compat.NovaException)


class Reconciler:
    """Settles the migrations whose source is this host.

    On a destination it removes the bases of a guest that has not come.

    :param engine: this host's service
    :param manager: Nova's compute manager
    """

    def __init__(self, engine: service.Service, manager: Any) -> None:
        self._journal = engine.journal
        self._sweep = engine.sweep
        self._reports = report.Reports(engine.settings.journal_dir)
        self._settler = settlement.Settler(engine, manager)
        #: The guests, by UUID, whose journal could not be read.
        self.unreadable: set[str] = set()
        self._door = threading.Lock()
        self._left: set[str] = set()
        #: Nova's migrations, by guest, that have no journal here. The
        #: destination may have made bases for them.
        self._unbegun: dict[str, Any] = {}
        self._works = False
        self._patience: dict[str, patiences.Patience] = {}
        self._wanted = threading.Event()
        #: How many attempts have ended, by guest.
        self._tried: collections.Counter[str] = collections.Counter()

    def run(self, patience: float = _PATIENCE) -> set[str]:
        """Try to settle each migration once, in the background.

        :param patience: seconds to wait for the attempts
        :returns: the guests, by UUID, whose journal stays until a later
            attempt, or whose first attempt is not over
        """
        self._journal.tidy()
        self._sweep()
        self._patience.clear()
        control.listen(self._journal.directory, control.SERVICE, self._obey)
        journals = self._journal.guests()
        self._unbegun = {
            each.instance_uuid: each
            for each in database.unbegun_migrations(database.admin_context())
            if each.instance_uuid not in journals
        }
        unsettled, tried = set(journals), threading.Event()
        self._works = True
        self._start(lambda: self._first(unsettled, tried))
        if not tried.wait(patience):
            LOG.warning(
                'The first attempt to settle each migration is not over after '
                '%s seconds. nova-compute starts in the meantime',
                patience,
            )
        with self._door:
            return unsettled.copy()

    def go_on(self, guests: Iterable[str]) -> None:
        """Try these guests in the background, until they are settled.

        None of their migrations may be under way. As long as a guest has a
        journal, none of its migrations begins.

        :param guests: UUIDs
        """
        with self._door:
            self._left.update(guests)
            if not self._left or self._works:
                return
            self._works = True
        self._start(self._work)

    def _first(self, unsettled: set[str], tried: threading.Event) -> None:
        self._try_all(unsettled)
        self.go_on(guest for guest in self._unbegun if not self._try(guest))
        tried.set()
        self._work()

    def _work(self) -> None:
        while self._goes_on():
            self._wanted.wait(_PAUSE)
            self._wanted.clear()
            self._try_all(self._left)

    def _obey(self, message: peer.Message) -> peer.Message:
        """Answer an order of an operator to this process."""
        if peer.operation_of(message) == control.RELAY:
            return relay.answer(message)
        return peer.answered(
            control.SETTLE, lambda: {'settled': self._settle_now(message)}
        )

    def _settle_now(self, message: peer.Message) -> bool:
        """Try a guest once more, without waiting for its turn.

        :raises MigrationLocked: its migration is not one to settle
        """
        guest = peer.guest_of(message)
        with self._door:
            tried = self._tried[guest]
            if guest not in self._left:
                raise exception.MigrationLocked(guest=guest)
        self._patience.pop(guest, None)
        self._wanted.set()
        waiting.until(
            lambda: self._tried[guest] > tried, timeout=_LONGEST_ATTEMPT
        )
        return self._journal.find(guest) is None

    def _goes_on(self) -> bool:
        with self._door:
            self._works = bool(self._left)
            return self._works

    def _try_all(self, guests: set[str]) -> None:
        """Try each guest, and take the settled ones out of the set."""
        with self._door:
            unsettled = sorted(guests)
        for guest in unsettled:
            if self._try(guest):
                with self._door:
                    guests.discard(guest)

    @staticmethod
    def _start(work: Callable[[], None]) -> None:
        threading.Thread(target=work, name=THREAD, daemon=True).start()

    def _try(self, guest: str) -> bool:
        """Settle a guest's migration, unless its last attempt was just now.

        :returns: False if another attempt is needed
        """
        patience = self._patience.setdefault(
            guest, patiences.Patience(_PAUSE, _LONGEST)
        )
        if not patience.over:
            return False
        with logging.about(guest), patience.lines.another():
            settled = self._try_now(guest)
        if settled:
            self._patience.pop(guest, None)
        else:
            patience.failed()
        self._tried[guest] += 1
        return settled

    def _try_now(self, guest: str) -> bool:
        database.begin_request()
        try:
            record = self._journal.find(guest)
        except exception.JournalError as e:  # which no time will heal
            LOG.error('The migration cannot be settled: %s', e)
            self.unreadable.add(guest)
            return True
        if record is None:
            return self._try_unbegun(guest)
        database.begin_request(memo.request_id(record.memo))
        if record.role is model.Role.DESTINATION:
            return self._try_here(record)
        if record.state is not states.State.SETTLED:
            LOG.warning(
                'The migration to %s has stopped in state %s, and is settled '
                'now',
                *(record.peer, record.state),
            )
        return self._attempt(
            *(guest, record.peer), lambda: self._settler.settle(record)
        )

    def _try_here(self, record: journal.Record) -> bool:
        """Finish the part of a destination; the source does all else."""
        if not guards.is_left(record):
            return True
        return self._attempt(
            *(record.guest, compat.CONF.host),
            lambda: self._settler.roll_back_here(record),
        )

    def _try_unbegun(self, guest: str) -> bool:
        migration = self._unbegun.get(guest)
        if migration is None:
            return True
        return self._attempt(
            *(guest, migration.dest_compute),
            lambda: self._settler.give_up(migration),
        )

    def _attempt(
        self, guest: str, dest: str, action: Callable[[], None]
    ) -> bool:
        try:
            action()
        except _EXPECTED as e:
            LOG.warning(
                'The migration to %s cannot be settled yet and will be tried '
                'again. Until then nothing of it is started or removed. '
                'Reason: %s',
                *(dest, e),
            )
            self._report(guest, str(e))
            return False
        except Exception as e:  # the host must come up for its other guests
            LOG.exception(
                'The attempt to settle the migration to %s has failed '
                'unexpectedly, and will be repeated',
                dest,
            )
            self._report(guest, str(e))
            return False
        return True

    def _report(self, guest: str, reason: str) -> None:
        """Leave the reason for the commands of an operator."""
        with contextlib.suppress(exception.JournalError):
            record = self._journal.find(guest)
            if record is not None:
                self._reports.fail(guest, record.migration, reason)
