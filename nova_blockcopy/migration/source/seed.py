# SPDX-License-Identifier: Apache-2.0
"""The two steps that only seeded mode has: freeze, and seed."""

import dataclasses
import time

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import forecast
from nova_blockcopy import lines
from nova_blockcopy import states
from nova_blockcopy.host import deltas
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import monitor
from nova_blockcopy.migration.source import exports
from nova_blockcopy.migration.source import freeze
from nova_blockcopy.migration.source import ledger as ledgers
from nova_blockcopy.migration.source import merge
from nova_blockcopy.migration.source import pace
from nova_blockcopy.migration.source import remote
from nova_blockcopy.migration.source import rounds
from nova_blockcopy.migration.source import steps
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FreezeDisks(steps.Step):
    """The guest writes to deltas, so that the disks do not change."""

    state = states.State.FREEZING
    guest: hypervisor.Guest
    ledger: ledgers.Ledger
    freezer: freeze.Freezer
    merger: merge.Merger

    def execute(self) -> None:
        """Freeze for the first time.

        :raises CannotFreeze: libvirt refuses a snapshot of this guest
        """
        try:
            self.freezer.freeze()
        except exception.Disconnected:
            raise
        except exception.HypervisorError as e:
            raise exception.CannotFreeze(
                guest=self.guest.name, reason=e
            ) from e

    def undo(self) -> None:
        record = self.ledger.record
        self.merger.merge(record.moves, record.definition)
        self.ledger.note(
            note='the deltas are merged',
            moves=tuple(
                dataclasses.replace(move, deltas=()) for move in record.moves
            ),
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SeedBases(steps.Step):
    """The bases are filled, round by round, while the guest runs here."""

    state = states.State.SEEDING
    guest: hypervisor.Guest
    destination: remote.RemoteDestination
    ledger: ledgers.Ledger
    exports: exports.Exports
    freezer: freeze.Freezer
    rounds: rounds.Rounds
    monitor: monitor.Monitor
    pace: pace.Pace
    settings: conf.Settings

    def execute(self) -> None:
        """Seed until the forecast is good enough, or no round would help.

        :raises SeedFailed: the forecast stayed too long, and
            ``seed_shortfall_action`` is ``abort``
        """
        before: forecast.Forecast | None = None
        began = time.monotonic()
        for number in range(1, self.settings.seed_rounds + 1):
            if before is not None:
                self.freezer.freeze()
                self.ledger.note(self.state)
            now = self._forecast(self.rounds.run(before.rate if before else 0))
            advice = forecast.advise(
                now,
                before,
                longest=self.settings.max_remote_window,
                rounds_left=self.settings.seed_rounds - number,
                spent_s=time.monotonic() - began,
            )
            self._tell(number, now, advice)
            if advice is forecast.Advice.SHORTFALL:
                self._fall_short(now)
            if advice is not forecast.Advice.AGAIN:
                return
            before = now

    def undo(self) -> None:
        try:
            self.destination.abort()
        except exception.PeerError as e:
            # the task fails at the latest when the exports have ended
            LOG.warning('The destination still seeds: %s', e)
        self.exports.stop()

    def _forecast(self, rate: float) -> forecast.Forecast:
        return forecast.Forecast(
            delta_bytes=sum(
                deltas.allocated(move.deltas[-1])
                for move in self.ledger.record.moves
            ),
            rate=rate,
        )

    def _tell(
        self, number: int, now: forecast.Forecast, advice: forecast.Advice
    ) -> None:
        self.ledger.note(note=f'round {number}: {now}; {advice}')
        LOG.info(lines.round_done(number, now, advice))
        self.monitor.foresee(now)

    def _fall_short(self, now: forecast.Forecast) -> None:
        # a copy that is slower than the guest would never get ready
        self.pace.guest = int(now.rate / 2)
        undone = self.settings.seed_shortfall_action == 'abort'
        LOG.warning(
            lines.shortfall(
                now,
                self.settings.max_remote_window,
                None if undone else self.pace.guest,
            )
        )
        if undone:
            moves = self.ledger.record.moves
            raise exception.SeedFailed(
                disk=', '.join(move.disk for move in moves),
                reason=f'the guest writes faster than its disks are copied: '
                f'{now}, max_remote_window is '
                f'{self.settings.max_remote_window} s. Raise the bandwidth '
                f'limit, or set seed_shortfall_action to proceed.',
            )
