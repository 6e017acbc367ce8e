# SPDX-License-Identifier: Apache-2.0
"""The pauses of a guest that the engine made, and so has to end.

The owner of a guest may pause it at any time. libvirt gives the same reason
for both pauses, so the journal tells them apart.
"""

import contextlib
import time
from collections.abc import Callable
from collections.abc import Iterator

from nova_blockcopy.host import hypervisor
from nova_blockcopy.records import journal
from nova_blockcopy.runtime import waiting

#: Seconds until a resumed guest meets the next I/O error, if there is one.
_WAKE_INTERVAL = 0.5


class Pauses:
    """The engine's pauses of one guest, on the guest's host.

    :param record: reads the journal of the migration
    :param note: writes into the journal whether the engine has paused the
        guest
    """

    def __init__(
        self,
        guest: hypervisor.Guest,
        record: Callable[[], journal.Record],
        note: Callable[[bool], None],
    ) -> None:
        self._guest = guest
        self._record = record
        self._note = note
        #: The seconds of the longest pause so far.
        self.longest_stop_s = 0.0

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """Pause the guest inside a ``with`` block, if the guest runs.

        A pivot needs this. If a host lost power just after the pivot of a
        guest that writes, nothing would tell which of the two images had
        the guest's last write.

        :raises JournalError: the journal cannot be written; the guest runs
        """
        runs = self._guest.power() is hypervisor.Power.RUNNING
        if runs:
            self._note(True)
            self._guest.pause()
        began = time.monotonic()
        try:
            yield
        finally:
            if runs:
                self._guest.resume()
                stopped_s = time.monotonic() - began
                self.longest_stop_s = max(self.longest_stop_s, stopped_s)
                self._note(False)

    def wake(self, timeout: float) -> None:
        """Resume the guest as :meth:`end` does, until it keeps running.

        An export that had died is back by now. QEMU notices that at the next
        attempt to reconnect, and the first attempt may fail.

        :param timeout: seconds for all attempts
        """
        waiting.until(
            lambda: not self.end(), timeout=timeout, interval=_WAKE_INTERVAL
        )

    def end(self) -> bool:
        """Resume a guest that the engine or an I/O error has paused.

        A guest that its owner has paused stays paused.

        :returns: whether the guest was paused so
        """
        power, ours = self._guest.power(), self._record().paused
        stopped = power is hypervisor.Power.IO_ERROR or (
            power is hypervisor.Power.PAUSED and ours
        )
        if stopped:
            self._guest.resume()
        if ours:
            self._note(False)
        return stopped


def activate(guest: hypervisor.Guest) -> None:
    """Let a paused guest run for a moment, so that its images are active.

    The images of a guest that arrives paused are inactive and read-only until
    the guest runs for the first time. If such a guest is migrated again, QEMU
    crashes (assertion in bdrv_inactivate_recurse, block.c; seen with QEMU
    7.2).

    A guest that another program has paused for a moment, such as a dump, may
    run again by itself.
    """
    if guest.power() is hypervisor.Power.PAUSED and guest.resume():
        guest.pause()
