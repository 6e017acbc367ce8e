# SPDX-License-Identifier: Apache-2.0
"""The engine on this host, as nova-compute runs it."""

import contextlib
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

from nova_blockcopy import appraisal
from nova_blockcopy import events
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy.host import certificates
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import images
from nova_blockcopy.host import scope
from nova_blockcopy.host import visibility
from nova_blockcopy.metrics import exporter
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.migration.source import inquiry
from nova_blockcopy.migration.source import migration
from nova_blockcopy.migration.source import readiness
from nova_blockcopy.migration.source import recovery
from nova_blockcopy.migration.source import remote
from nova_blockcopy.migration.source import switch_over
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import config_drive
from nova_blockcopy.nova import guards
from nova_blockcopy.nova import kept
from nova_blockcopy.nova import messages
from nova_blockcopy.nova import notifier
from nova_blockcopy.nova import preparation
from nova_blockcopy.nova import request
from nova_blockcopy.nova import settings
from nova_blockcopy.nova import surroundings
from nova_blockcopy.nova import trust
from nova_blockcopy.records import expected
from nova_blockcopy.records import journal
from nova_blockcopy.records import received
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

#: Seconds for the question to a destination. Nova waits for the checks of a
#: source as long as ``rpc_response_timeout``, 60 s by default.
_PATIENCE = 30


class Service:
    """The engine, for the compute driver.

    :param host: this host's name in Nova
    :param connect: returns Nova's own connection to libvirt
    :param uri: of that libvirt
    :param remove: removes everything of a deleted instance here, by UUID
    :param endpoint: tells how this host's libvirt reaches an address
    """

    def __init__(
        self,
        host: str,
        connect: hypervisor.Connect,
        uri: str,
        remove: Callable[[str], None],
        endpoint: Callable[[str], model.Endpoint],
    ) -> None:
        self.settings = settings.read(uri)
        directory = self.settings.journal_dir
        _report_scopes()
        _report_visibility()
        certificates.report(host, self.settings)
        self.journal = journal.Journal(directory)
        self.expected = expected.Expected(directory)
        self.guard = guards.Guard(self.journal, self.expected)
        self.kept = kept.Kept(directory, compat.CONF.instances_path)
        self.preparations = preparation.Preparations(self.expected, self.kept)
        self._remove = remove
        self._endpoint = endpoint
        self._here = hypervisor.Hypervisor(host, _translated(host, connect))
        self._readiness = readiness.Readiness(self._here, self.settings)
        self._observers: tuple[events.Observer, ...] = (
            *exporter.observers(self.settings),
            notifier.Notifier(host),
        )
        self._destination = dispatcher.Dispatcher(
            self._here,
            self.settings,
            trust.Trust(host, self.preparations, endpoint, _places()),
            surroundings.Surroundings(self.kept, self.check_volumes),
            self._observers,
        )

    # -- both hosts ------------------------------------------------------

    def answer(self, message: peer.Message) -> peer.Message:
        """Answer a message of another host's driver or engine."""
        ours = messages.answer(message, self)
        if ours is not None:
            return ours
        answer = self._destination.handle(message)
        if 'error' not in answer and os.path.exists(
            self.journal.path(message['guest'])
        ):
            # from here on the journal guards the bases
            self.expected.forget(message['guest'])
        if 'error' not in answer and message['operation'] == 'finish':
            self.preparations.arrived(message['guest'])
        return answer

    def sweep(self) -> None:
        """Remove the notes about bases that are gone, at the start.

        A nova-compute that was killed may have left such notes. No migration
        may be under way. A note that cannot be read stays.
        """
        directory = self.settings.journal_dir
        for guest in self._swept(self.expected.guests()):
            with contextlib.suppress(exception.NoteError):
                if self.expected.find(guest) is None:
                    self.expected.forget(guest)
        for guest in self._swept(received.guests(directory)):
            with contextlib.suppress(exception.NoteError):
                if received.are_gone(directory, guest):
                    received.Book(directory, guest).close()

    def _swept(self, guests: Iterable[str]) -> Iterator[str]:
        """Those with neither a journal nor kept bases, which move away."""
        journals = self.journal.guests()
        for guest in guests:
            if guest not in journals and not self.kept.has(guest):
                yield guest

    def is_guarded(self, guest: str) -> bool:
        """Whether a guest, by UUID, may run here or need this host.

        :raises JournalError: the journal cannot be read
        """
        record = self.journal.find(guest)
        return record is not None and not guards.is_left(record)

    def remove_deleted(self, guest: str) -> None:
        """Remove the disks and interfaces of a deleted instance.

        Its guest is on the other host.

        :param guest: UUID
        :raises PeerError: the instance is not deleted, or Nova fails
        """
        try:
            self._remove(guest)
        except compat.NovaException as e:
            raise exception.PeerError(
                operation=messages.REMOVE_DELETED, reason=e
            ) from e
        self.forget_bases(guest)
        self.close_left(guest)

    def close_left(self, guest: str) -> None:
        """Close the journal of a guest that has not come to this host.

        Nova has removed the bases.

        :param guest: UUID
        :raises JournalError: the journal cannot be read
        """
        record = self.journal.find(guest)
        if (
            record is not None
            and record.role is model.Role.DESTINATION
            and guards.is_left(record)
        ):
            self.journal.close(guest)

    # -- the destination -------------------------------------------------

    def is_expected(self, guest: str, source: str) -> bool:
        """Whether this host has bases for a guest, and no journal of it yet.

        :param guest: UUID
        :param source: the name in Nova of the host that the guest is on
        :raises PeerError: Nova is still making them
        """
        return self.preparations.is_expected(guest, source)

    def write_config_drive(self, guest: str, content: str) -> None:
        """Fill the config drive of a guest that this host expects.

        :param guest: UUID
        :param content: as ``config_drive.pack`` returned it
        :raises PeerError: Nova has not prepared this host for the guest
        """
        if self.expected.find(guest) is None:
            raise exception.PeerError(
                operation='write the config drive',
                reason='Nova has not prepared this host for the guest.',
            )
        config_drive.write(guest, content)

    def reserve_images(self, guest: str) -> None:
        """Reserve the space of a guest's files that have come to this host.

        Seeding and copying leave out zeros, so the files have holes.

        :param guest: UUID
        :raises BlockCopyError: the space of a file cannot be reserved
        """
        record = self.journal.find(guest)
        for move in record.moves if record else ():
            if move.base.kind is model.ImageKind.FILE:
                images.reserve(
                    move.base.path,
                    move.size_bytes,
                    self.settings.call_timeout,
                )

    def keep_bases(self, guest: str) -> None:
        """Keep a guest's seeded bases, if ``keep_seeded`` says so."""
        if self.settings.keep_seeded:
            self.kept.keep(guest, self.settings.keep_seeded)

    def forget_bases(self, guest: str) -> None:
        """Forget a guest's bases: Nova has removed those that are not kept."""
        self.preparations.forget(guest)
        if not self.kept.has(guest):
            received.Book(self.settings.journal_dir, guest).close()

    def check_volumes(self) -> None:
        """Pass if this host can tell whether a guest uses a volume.

        :raises UsersUnseen: it cannot
        :raises HelperError: the helper cannot be started
        """
        reason = visibility.blind_spot(
            visibility.current(), model.ImageKind.BLOCK, told=True
        )
        if reason is not None:
            raise exception.UsersUnseen(host=self._here.host, reason=reason)

    # -- the source ------------------------------------------------------

    def settle(
        self, record: journal.Record, channel: peer.Channel
    ) -> model.Role:
        """End a migration that a crash has interrupted.

        :returns: the side on which the guest is now
        :raises BlockCopyError: see ``recovery.settle``
        """
        return recovery.settle(
            *(record, self._here, channel, self.settings), self._observers
        )

    def close(self, record: journal.Record, channel: peer.Channel) -> None:
        """Close the journal of a settled migration, after Nova's part.

        A destination that the guest has come to closes its own first. Another
        one closes its own as soon as Nova has removed the bases.

        :raises PeerError: the destination does not answer
        """
        if record.authority is model.Role.DESTINATION:
            interval = self.settings.poll_interval
            there = remote.RemoteDestination(channel, record, interval)
            there.close(record.authority)
        self.journal.close(record.guest)

    def appraise(
        self,
        guest: str,
        disks: list[dict[str, Any]],
        dest: str,
        channel: peer.Channel,
    ) -> appraisal.Appraisal:
        """Appraise the migration of an instance from this host.

        :param guest: UUID
        :param disks: Nova's disk info of its local disks
        :param dest: the destination's name in Nova
        :param channel: to the destination
        """
        asking = inquiry.Inquiry(
            here=self._here,
            channel=channel,
            peer=dest,
            home=self._endpoint(request.own_address()),
            endpoint=self._endpoint,
            settings=self.settings,
            deadline=_PATIENCE,
        )
        return asking.appraise(
            guest, lambda _xml, found: request.choice(found, disks)
        )

    def live_migration(
        self,
        asked: request.LiveMigrationRequest,
        channel: peer.Channel,
        switch: Callable[..., switch_over.Switch],
        listener: Callable[[progress.Progress], None],
    ) -> migration.Migration:
        """The engine's migration, which is yet to run.

        :param channel: to the destination
        :param switch: makes the switchover for the ``disks`` that move
        :param listener: called with the figures; must return quickly
        :raises BlockCopyError: with the reason; no disk has moved
        """
        guest = self._readiness.guest(asked.guest)
        disks = self._readiness.disks(guest)
        drive = config_drive.find(disks.values())
        if drive is not None:
            messages.RemoteDriver(channel).write_config_drive(
                guest.uuid, config_drive.pack(drive)
            )
        wanted = asked.for_engine(disks)
        return migration.Migration(
            wanted,
            self._here,
            channel,
            self.settings,
            observers=[events.on_progress(listener), *self._observers],
            switch=switch(disks=tuple(wanted.bases)),
        )


def _places() -> tuple[str, ...]:
    """The directories of disks that Nova makes or connects on each host."""
    mounts = [
        value
        for name, value in compat.CONF.libvirt.items()
        if name.endswith('_mount_point_base')
    ]
    return '/dev', compat.CONF.instances_path, *dict.fromkeys(mounts)


def _report_scopes() -> None:
    """Log whether guests can do without a running nova-compute here."""
    try:
        obstacle = scope.obstacle()
    except exception.HelperError as e:
        obstacle = str(e)
    if obstacle:
        LOG.warning(
            'The exporters of this host may end together with the unit or the '
            'container of nova-compute, because they get no scope of systemd '
            '(%s). Then a guest between its switchover and its pivot pauses '
            'until nova-compute runs again.',
            obstacle,
        )
    else:
        LOG.info('The exporters of this host outlive nova-compute')


def _report_visibility() -> None:
    """Log whether users of an image may go unnoticed on this host."""
    try:
        seen = visibility.current()
    except exception.HelperError as e:
        LOG.warning('The users of images cannot be looked for: %s', e)
        return
    if seen is visibility.Visibility.OWN:
        LOG.warning(
            'nova-compute does not see the processes of libvirt on this host. '
            "A base that is a file counts as in use if it has QEMU's locks. A "
            'base that is a block device is refused. %s',
            visibility.REMEDY,
        )
    else:
        LOG.info('nova-compute sees the guests of this host as processes')


def _translated(host: str, connect: hypervisor.Connect) -> hypervisor.Connect:
    """Nova's connection; if it is lost, an error of the engine is raised."""

    def connected() -> Any:
        try:
            return connect()
        except compat.HypervisorUnavailable as e:
            raise exception.Disconnected(
                host=host, action='connect', reason=e
            ) from e

    return connected
