# SPDX-License-Identifier: Apache-2.0
"""After a crash of nova-compute, half-done migrations come to an end.

The reconciler runs in ``init_host``, before Nova looks at its instances. Nova
can then neither start an instance nor clean up after it before its migration
is settled. If a migration cannot be settled yet, mostly because the other host
does not answer, a thread tries again.
"""

import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from oslo_log import log as logging

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import database
from nova_blockcopy.nova import guards
from nova_blockcopy.nova import service
from nova_blockcopy.nova import settlement
from nova_blockcopy.records import journal

LOG = logging.getLogger(__name__)

#: Seconds between two attempts.
_PAUSE = 10
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
        self._settler = settlement.Settler(engine, manager)
        #: The guests, by UUID, whose journal could not be read.
        self.unreadable: set[str] = set()
        self._door = threading.Lock()
        self._left: set[str] = set()
        #: Nova's migrations, by guest, that have no journal here. The
        #: destination may have made bases for them.
        self._unbegun: dict[str, Any] = {}
        self._works = False

    def run(self) -> list[str]:
        """Settle the migrations that can be settled now.

        :returns: the guests, by UUID, whose journal stays until a later
            attempt
        """
        self._journal.tidy()
        guests = self._journal.guests()
        self._unbegun = {
            each.instance_uuid: each
            for each in database.unbegun_migrations(database.admin_context())
            if each.instance_uuid not in guests
        }
        unsettled = [guest for guest in guests if not self._try(guest)]
        self.go_on(guest for guest in self._unbegun if not self._try(guest))
        return unsettled

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
        threading.Thread(
            target=self._work, name='nova-blockcopy-settle', daemon=True
        ).start()

    def _work(self) -> None:
        while guests := self._begin():
            time.sleep(_PAUSE)
            for guest in guests:
                if self._try(guest):
                    with self._door:
                        self._left.discard(guest)

    def _begin(self) -> list[str]:
        with self._door:
            self._works = bool(self._left)
            return sorted(self._left)

    def _try(self, guest: str) -> bool:
        """Settle a guest's migration.

        :returns: False if another attempt is needed
        """
        try:
            record = self._journal.find(guest)
        except exception.JournalError as e:  # which no time will heal
            LOG.error('The migration of instance %s: %s', guest, e)
            self.unreadable.add(guest)
            return True
        if record is None:
            return self._try_unbegun(guest)
        if record.role is model.Role.DESTINATION:
            return self._try_here(record)
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
        except Exception as e:  # the host must come up for its other guests
            LOG.warning(
                'The migration of instance %s to %s cannot be settled yet and '
                'will be tried again. Until then nothing of it is started or '
                'removed. Reason: %s',
                *(guest, dest, e),
                exc_info=not isinstance(e, _EXPECTED),
            )
            return False
        return True
