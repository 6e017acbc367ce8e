# SPDX-License-Identifier: Apache-2.0
"""The freeze, after which the guest writes to a new delta of each disk."""

import dataclasses
import os

from nova_blockcopy import conf
from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import deltas
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration.source import ledger as ledgers
from nova_blockcopy.migration.source import lookout


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Freezer:
    """Freezes the disks of one guest, all at once. Runs on the source."""

    guest: hypervisor.Guest
    ledger: ledgers.Ledger
    lookout: lookout.Lookout
    settings: conf.Settings

    def freeze(self) -> None:
        """Put another delta on top of each disk.

        The journal names the deltas before they exist. Afterwards the journal
        has the definitions of the guest that name the deltas.

        :raises NoRoom: ``delta_dir`` has too little free space
        :raises Disturbed: another program has changed the guest
        :raises BlockCopyError: some disk may use a new delta; the caller has
            to undo the freeze
        """
        self.lookout.check()
        moves = tuple(map(self._with_delta, self.ledger.record.moves))
        self.ledger.note(states.State.FREEZING, moves=moves)
        self.lookout.check_room()
        for move in moves:
            deltas.create(
                move.top(), move.size_bytes, self.settings.call_timeout
            )
        self.guest.snapshot(domxml.freeze(self.guest.running_xml(), moves))
        self._prove(moves)
        self.ledger.note(
            states.State.FREEZING,
            'frozen',
            live_xml=self.guest.live_xml(),
            persistent_xml=self.guest.persistent_xml() or '',
        )

    def _with_delta(self, move: model.Move) -> model.Move:
        migration = self.ledger.record.migration
        name = f'{migration}-{move.disk}.{len(move.deltas)}.qcow2'
        path = os.path.join(self.settings.delta_dir, name)
        return dataclasses.replace(move, deltas=(*move.deltas, path))

    def _prove(self, moves: tuple[model.Move, ...]) -> None:
        xml = self.guest.running_xml()
        for move in moves:
            if not domxml.at_image(domxml.disk(xml, move.disk), move.top()):
                raise exception.DriverError(
                    action='switch the guest to a delta',
                    disk=move.disk,
                    reason=f'the guest does not use {move.deltas[-1]}.',
                )
