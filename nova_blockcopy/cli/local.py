# SPDX-License-Identifier: Apache-2.0
"""The engine of this host, in the process of a command."""

import dataclasses

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.cli import gone
from nova_blockcopy.cli import site
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.destination import copying
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.migration.destination import host
from nova_blockcopy.migration.destination import surroundings
from nova_blockcopy.migration.destination import trust
from nova_blockcopy.migration.source import recovery
from nova_blockcopy.migration.source import remote
from nova_blockcopy.records import journal


def settle(at: site.Site, record: journal.Record) -> model.Role:
    """Bring a migration to its end without the destination, on the source.

    :returns: the side on which the guest is
    :raises BlockCopyError: see ``recovery.settle``
    """
    return recovery.settle(record, at.here, gone.Gone(), at.settings)


@dataclasses.dataclass(frozen=True, slots=True)
class Destination:
    """The destination's part of a migration, without a source.

    The same operations run as if the source had ordered them.
    """

    at: site.Site
    record: journal.Record

    def take_over(self) -> None:
        """Have the guest use the bases, if they have each write.

        :raises JobFailed: some base may lack writes; nothing has changed
        :raises MigrationLocked: nova-compute is at work on it
        """
        if self.record.state is states.State.COPYING:
            self._note_ready()
        orders = self._orders()
        orders.pivot_without_source(lambda _state, _disks: None)
        orders.finish()

    def forget(self) -> None:
        """End a guest whose exports are gone, and forget the migration.

        :raises TooLate: the guest uses a base
        """
        guest = self.at.here.find(self.record.guest)
        if guest and guest.power() is hypervisor.Power.IO_ERROR:
            guest.destroy()
        self._orders().discard()

    def _orders(self) -> remote.RemoteDestination:
        answers = dispatcher.Dispatcher(self.at.here, self.at.settings)
        # the journal stays open until Nova has done its part
        record = dataclasses.replace(self.record, held=True)
        return remote.RemoteDestination(
            peer.InProcess(answers.handle),
            *(record, self.at.settings.poll_interval),
        )

    def _note_ready(self) -> None:
        """Note that all copies are ready, if they are.

        They may have become ready while nova-compute was away.
        """
        page = journal.Page(
            self.at.journal, self.record.guest, self.record.migration
        )
        here = host.Host(
            here=self.at.here,
            settings=self.at.settings,
            journal=self.at.journal,
            trust=trust.Everything(),
            surroundings=surroundings.Unknown(),
        )
        for disk in copying.Copying(here, page).group.look():
            if not disk.ready:
                raise exception.JobFailed(
                    disk=disk.disk,
                    reason='its base is not complete. Keep the disks of the '
                    'source.',
                )
        page.note(states.State.READY, 'all copies are ready')
