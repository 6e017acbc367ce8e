# SPDX-License-Identifier: Apache-2.0
"""The step that moves the guest's memory, by default through libvirt."""

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from collections.abc import Mapping

from nova_blockcopy import conf
from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import firmware
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import switchover
from nova_blockcopy.migration import pauses
from nova_blockcopy.migration.source import definition
from nova_blockcopy.migration.source import exports
from nova_blockcopy.migration.source import ledger as ledgers
from nova_blockcopy.migration.source import lookout
from nova_blockcopy.migration.source import remote
from nova_blockcopy.migration.source import steps
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import waiting

LOG = logging.getLogger(__name__)

#: Moves the guest: (live XML, persistent XML, cancelled).
Switch = Callable[[str, str, threading.Event], None]

_AT_HOME = (
    hypervisor.Power.RUNNING,
    hypervisor.Power.PAUSED,
    hypervisor.Power.SUSPENDED,
    hypervisor.Power.HALTED,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SwitchOver(steps.Step):
    """The guest's memory moves. Then the guest reads disks over the network.

    ``home`` is the endpoint at which the destination's libvirt reaches this
    host.
    """

    state = states.State.SWITCHING
    guest: hypervisor.Guest
    destination: remote.RemoteDestination
    ledger: ledgers.Ledger
    exports: exports.Exports
    lookout: lookout.Lookout
    home: model.Endpoint
    switch: Switch
    cancelled: threading.Event
    settings: conf.Settings

    def execute(self) -> None:
        self.lookout.check()
        # somebody may have changed a setting since the last freeze
        self.ledger.note(
            live_xml=self.guest.live_xml(),
            persistent_xml=self.guest.persistent_xml() or '',
        )
        record, served = self.ledger.record, self.ledger.exports()
        live, persistent = (
            domxml.point_at_exports(xml, record.moves, served) if xml else ''
            for xml in (record.live_xml, record.persistent_xml)
        )
        for xml in filter(None, (live, persistent)):
            check_exported(xml, record.moves, served)
        try:
            self.lookout.through(
                lambda: self.switch(live, persistent, self.cancelled)
            )
        except exception.SwitchoverError as e:
            # the call may have failed after the guest had moved
            if not self._arrived():
                raise
            LOG.warning(
                'The guest runs on its destination, although the switchover '
                'reported a failure: %s',
                e,
            )
        self.exports.check_ends()

    def undo(self) -> None:
        self._end_migration()
        power = self.guest.power()
        if power not in _AT_HOME:
            self._bring_home(power)
        # an earlier attempt may have brought it home
        pauses.activate(self.guest)

    def _bring_home(self, power: hypervisor.Power) -> None:
        if self.destination.power() is not hypervisor.Power.OFF:
            self._call_back()
        elif power is not hypervisor.Power.IO_ERROR:
            # the guest ended; the disks here are complete, so let it start
            record = self.ledger.record
            firmware.write(
                *(record.guest, record.persistent_xml),
                self.destination.firmware(),
            )
            definition.restore(self.guest, record.persistent_xml, record.moves)
        # else the guest is still here, and resumes when a write succeeds

    def _end_migration(self) -> None:
        """End a migration that libvirt continues after the caller died."""

        def ended() -> bool:
            if not self.guest.migrating():
                return True
            with contextlib.suppress(exception.HypervisorError):
                self.guest.abort_migration()
            return False

        if not waiting.until(ended, timeout=self.settings.call_timeout):
            raise exception.SwitchoverError(
                guest=self.guest.name,
                reason='libvirt still migrates the guest, so nothing else can '
                f'be undone. Run "virsh domjobabort {self.guest.name}" here.',
            )

    def _call_back(self) -> None:
        """Have the destination give the guest back."""
        self.exports.revive_disks()
        record = self.ledger.record
        self.destination.give_back(
            self.home, record.live_xml, record.persistent_xml
        )
        if not waiting.until(
            lambda: self.guest.power() in _AT_HOME,
            timeout=self.settings.call_timeout,
        ):
            raise exception.SwitchoverError(
                guest=self.guest.name,
                reason='the destination gave the guest back, but the guest '
                'does not run on its source. Look at it on both hosts.',
            )

    def _arrived(self) -> bool:
        return (
            self.guest.power() is hypervisor.Power.OFF
            and self.destination.power() in _AT_HOME
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PeerToPeer:
    """Moves the guest by libvirt's own peer-to-peer migration.

    ``endpoint`` is where this host's libvirt reaches the destination.
    """

    guest: hypervisor.Guest
    endpoint: model.Endpoint
    settings: conf.Settings

    def __call__(
        self, live_xml: str, persistent_xml: str, cancelled: threading.Event
    ) -> None:
        switchover.run(
            self.guest,
            self.endpoint,
            live_xml=live_xml,
            persistent_xml=persistent_xml,
            cancelled=cancelled,
            settings=self.settings,
        )


def never(
    _live_xml: str, _persistent_xml: str, _cancelled: threading.Event
) -> None:
    """The switch of a migration that recovery brings to an end."""
    raise NotImplementedError('a guest is not switched over after a crash')


def check_exported(
    xml: str,
    moves: tuple[model.Move, ...],
    served: Mapping[str, tuple[model.Export, ...]],
) -> None:
    """Pass if a definition has every moved disk on the disk's exports.

    This is the last check before a switchover. libvirt takes a block device
    for shared storage, and would resume a guest on an empty base.

    :raises SwitchoverError: some disk points elsewhere
    """
    disks = domxml.disks(xml)
    for move in moves:
        disk = disks.get(move.disk)
        if disk is None or not domxml.at_exports(
            disk, move, served[move.disk]
        ):
            raise exception.SwitchoverError(
                guest=domxml.guest_name(xml),
                reason=f'disk {move.disk} does not point at its exports in '
                f'the XML for the destination. Report a bug.',
            )
