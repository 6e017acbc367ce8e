# SPDX-License-Identifier: Apache-2.0
"""The engine on this host, as nova-compute runs it."""

import contextlib
import os
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.migration.source import migration
from nova_blockcopy.migration.source import recovery
from nova_blockcopy.migration.source import source
from nova_blockcopy.nova import bases
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import guards
from nova_blockcopy.nova import kept
from nova_blockcopy.nova import switch as switches
from nova_blockcopy.records import expected
from nova_blockcopy.records import journal
from nova_blockcopy.records import received

CONFIG_DRIVE_OPERATION = 'config_drive'
EXPECTED_OPERATION = 'expected'
GUARDED_OPERATION = 'guarded'
REMOVE_OPERATION = 'remove_deleted'


class Service:
    """What the compute driver asks the engine for.

    :param host: this host's name in Nova
    :param connect: gives Nova's own connection to libvirt
    :param uri: of that libvirt
    :param remove: removes what Nova has of an instance here, by UUID, if it
        was deleted
    """

    def __init__(
        self,
        host: str,
        connect: hypervisor.Connect,
        uri: str,
        remove: Callable[[str], None],
    ) -> None:
        _set_defaults()
        self.settings = conf.settings(compat.CONF, connection_uri=uri)
        self.journal = journal.Journal(self.settings.journal_dir)
        self.kept = kept.Kept(
            self.settings.journal_dir, compat.CONF.instances_path
        )
        self._remove = remove
        self.expected = expected.Expected(self.settings.journal_dir)
        #: The guests that Nova makes bases for just now.
        self._preparing: set[str] = set()
        self.guard = guards.Guard(self.journal, self.expected)
        self._here = hypervisor.Hypervisor(host, _translated(host, connect))
        self._source = source.Source(self._here, self.settings)
        self._destination = dispatcher.Dispatcher(self._here, self.settings)

    def answer(self, message: peer.Message) -> peer.Message:
        """Answer a message of another host's driver."""
        operations = {
            CONFIG_DRIVE_OPERATION: lambda: bases.write_config_drive(
                message['guest'], message['content']
            ),
            EXPECTED_OPERATION: lambda: self._tell_expected(
                message['guest'], message['source']
            ),
            REMOVE_OPERATION: lambda: self.remove_deleted(message['guest']),
            GUARDED_OPERATION: lambda: {
                'guarded': self.journal.find(message['guest']) is not None
            },
        }
        ours = operations.get(str(message.get('operation')))
        if ours is not None:
            return peer.answered(ours)
        answer = self._destination.handle(message)
        guest = str(message.get('guest'))
        if os.path.exists(self.journal.path(guest)):
            # it tells of the bases from here on
            self.expected.forget(guest)
        return answer

    def expecting(self, guest: str) -> contextlib.AbstractContextManager[None]:
        """While Nova prepares for a guest, by UUID, that is to come."""
        return _among(self._preparing, guest)

    def _tell_expected(self, guest: str, source: str) -> peer.Message:
        """Whether Nova has made bases for a host's guest, and no more.

        :raises PeerError: it is still at it
        """
        if guest in self._preparing:
            raise exception.PeerError(
                operation=EXPECTED_OPERATION,
                reason='bases are still being made for the guest.',
            )
        return {'expected': self.expected.find(guest) == source}

    def remove_deleted(self, guest: str) -> None:
        """Remove what an instance has left here, whose guest is elsewhere.

        :raises PeerError: it is not deleted, or that failed
        """
        try:
            with self.guard.removable(guest):
                self._remove(guest)
        except compat.NovaException as e:
            raise exception.PeerError(
                operation=REMOVE_OPERATION, reason=e
            ) from e
        self.forget_bases(guest)

    def settle(
        self, record: journal.Record, channel: peer.Channel
    ) -> model.Role:
        """Bring to its end what a crash left; see ``reconcile``."""
        return recovery.settle(record, self._here, channel, self.settings)

    def keep_bases(self, guest: str) -> None:
        """Keep what was seeded here for a guest, if that is wanted."""
        if self.settings.keep_seeded:
            self.kept.keep(guest, self.settings.keep_seeded)

    def forget_bases(self, guest: str) -> None:
        """Forget a guest's bases here: Nova has removed what is not kept."""
        self.expected.forget(guest)
        if not self.kept.has(guest):
            received.Book(self.settings.journal_dir, guest).close()

    def check_departure(
        self, instance: Any, disks: list[str], *, tls: bool
    ) -> None:
        """Pass if an instance's disks could be moved from here.

        :param disks: paths of its local disks, as Nova knows them
        :param tls: the destination's ``export_tls``
        :raises Refused: with the reason
        """
        guest = self._source.guest(instance.uuid)
        plan.check_same_encryption(
            *(self._here.host, self.settings.export_tls),
            *('the destination', tls),
        )
        found = self._source.disks(guest)
        targets = [
            target
            for target, disk in found.items()
            if disk.path in disks and not disk.readonly
        ]
        self._source.select(guest, targets, _others(found, targets))

    def departure(
        self,
        instance: Any,
        peer_name: str,
        channel: peer.Channel,
        wanted: dict[str, model.BaseRequest],
        destination_uri: model.Endpoint,
        home: model.Endpoint,
        switch: Callable[[tuple[str, ...]], switches.Switch],
        listener: Callable[..., None],
    ) -> migration.Migration:
        """The engine's migration of an instance of this host.

        :param peer_name: the destination's name in Nova
        :param wanted: bases by the path of the disk's image here
        :param switch: makes what carries the guest over, for these disks
        """
        guest = self._source.guest(instance.uuid)
        found = self._source.disks(guest)
        requests = {
            target: wanted[disk.path]
            for target, disk in found.items()
            if disk.path in wanted and disk.device == 'disk'
        }
        _send_config_drive(guest, found, channel)
        return migration.Migration(
            migration.Request(
                guest=guest.uuid,
                peer=peer_name,
                bases=requests,
                home=home,
                destination=destination_uri,
                shared=_others(found, list(requests)),
            ),
            self._here,
            channel,
            self.settings,
            listener=listener,
            switch=switch(tuple(requests)),
        )


@contextlib.contextmanager
def _among(guests: set[str], guest: str) -> Iterator[None]:
    """Have a guest be one of those for a while."""
    guests.add(guest)
    try:
        yield
    finally:
        guests.remove(guest)


def _translated(host: str, connect: hypervisor.Connect) -> hypervisor.Connect:
    """Nova's connection, whose loss is an error that the engine knows."""

    def connected() -> Any:
        try:
            return connect()
        except compat.HypervisorUnavailable as e:
            raise exception.Disconnected(
                host=host, action='connect', reason=e
            ) from e

    return connected


def _set_defaults() -> None:
    """Defaults that fit a nova-compute; what an operator sets stays."""
    state = os.path.join(compat.CONF.state_path, 'blockcopy')
    for name, value in (
        ('journal_dir', os.path.join(state, 'journal')),
        ('delta_dir', os.path.join(state, 'deltas')),
        (
            'export_address',
            compat.CONF.libvirt.live_migration_inbound_addr
            or compat.CONF.my_ip,
        ),
        ('export_tls', compat.CONF.libvirt.live_migration_with_native_tls),
    ):
        compat.CONF.set_default(name, value, group='blockcopy')


def _others(
    found: dict[str, model.Disk], targets: list[str]
) -> dict[str, str]:
    """Disks that Nova takes care of: volumes of Cinder, mostly."""
    return {
        target: 'Nova takes care of it'
        for target, disk in found.items()
        if target not in targets and not disk.readonly
    }


def _send_config_drive(
    guest: hypervisor.Guest,
    found: dict[str, model.Disk],
    channel: peer.Channel,
) -> None:
    for disk in found.values():
        path = disk.path or ''
        if disk.readonly and os.path.basename(path) == bases.CONFIG_DRIVE:
            peer.ask(
                channel,
                CONFIG_DRIVE_OPERATION,
                guest.uuid,
                content=bases.pack_config_drive(path),
            )
