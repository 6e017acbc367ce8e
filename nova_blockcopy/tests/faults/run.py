# SPDX-License-Identifier: Apache-2.0
"""One migration with its faults, from the order to the verdict."""

import contextlib
import dataclasses
import subprocess
import time
from collections.abc import Iterator
from collections.abc import Sequence

import libvirt

from nova_blockcopy import states
from nova_blockcopy.tests.faults import bed as beds
from nova_blockcopy.tests.faults import fault as faults
from nova_blockcopy.tests.faults import look
from nova_blockcopy.tests.faults import stage as stages
from nova_blockcopy.tests.faults import verdict
from nova_blockcopy.tests.lab import host as hosts

#: Seconds for the first run of a migration, and for its settlement.
_RUN = 240
_SETTLE = 90
#: Errors of a fault whose object has gone meanwhile.
_TOO_LATE = (
    *(OSError, ValueError, subprocess.SubprocessError),
    *(hosts.LabError, libvirt.libvirtError),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A fault, the state that it waits for, and a delay in seconds.

    With a delay, the migration goes on at once and the fault comes later.
    """

    fault: faults.Fault
    state: states.State
    delay: float = 0


class Run:
    """Runs one migration of a stage.

    :param strikes: the faults
    """

    def __init__(self, stage: stages.Stage, strikes: Sequence[Strike]) -> None:
        self._stage = stage
        self._strikes = strikes
        self._acts: list[Iterator[None]] = []
        #: The names of the faults whose state was reached.
        self.struck: list[str] = []

    def migrate(self) -> None:
        """Migrate, with all faults, until the migration is settled."""
        stage = self._stage
        for daemon in (stage.source, stage.destination):
            daemon.start()
        stage.begin()
        stage.source.ask('hold', states=[s.state for s in self._strikes])
        stage.source.ask('migrate', request=beds.request(stage.made))
        ahead = list(self._strikes)
        while state := self._held(ahead):
            now = [s for s in ahead if s.state == state]
            ahead = [s for s in ahead if s.state != state]
            self._strike(state, now)
        stage.met = stage.met and bool(self.struck)
        stage.wait(lambda: stage.has_ended, timeout=_RUN)
        self._go_on()
        self._settle()

    def look(self, *, doubled: bool) -> verdict.Evidence:
        """Gather the evidence.

        :param doubled: whether the guest was seen on both hosts at a time
        """
        seen = verdict.Evidence(doubled=doubled, **look.look(self._stage))
        if not seen.closed:
            return seen
        there = _side(seen) == verdict.DESTINATION
        # the next attempt may use what seeding has copied
        kept = () if there else ('journal/received',)
        litter = tuple(
            each
            for each in self._stage.bed.lab.litter()
            if not any(k in each for k in kept)
        )
        return dataclasses.replace(seen, litter=litter)

    def finish(self) -> None:
        """Do the last part of each fault, when the result was judged."""
        self._go_on()

    def again(self, seen: verdict.Evidence) -> verdict.Evidence:
        """Migrate the guest once more, if all is well so far."""
        if not seen.closed or verdict.problems(seen):
            return seen
        stage = self._stage
        there = _side(seen) == verdict.DESTINATION
        error = look.again(stage, stage.away if there else stage.home)
        return dataclasses.replace(seen, again=error)

    def _held(self, ahead: Sequence[Strike]) -> str:
        """Wait until the migration is held; '' if it ends before."""
        stage = self._stage
        wanted = {strike.state for strike in ahead}

        def held() -> list[str]:
            return [
                event['held']
                for event in stage.events('held')
                if event['held'] in wanted
            ]

        stage.wait(
            lambda: bool(not wanted or held() or stage.has_ended), timeout=_RUN
        )
        return next(iter(held()), '')

    def _strike(self, state: str, strikes: Sequence[Strike]) -> None:
        stage = self._stage
        acts = [s.fault.act(stage) for s in strikes]
        delay = max(s.delay for s in strikes)
        if delay:
            self._release(state)
            time.sleep(delay)
        for act in acts:
            self._step(act)
        if not delay:
            self._release(state)
        for act in acts:
            self._step(act)
        self.struck += [strike.fault.name for strike in strikes]
        self._acts += acts

    def _release(self, state: str) -> None:
        # the fault may have killed it
        with contextlib.suppress(OSError, ValueError):
            self._stage.source.ask('release', state=state)

    def _go_on(self) -> None:
        for act in self._acts:
            self._step(act)

    def _step(self, act: Iterator[None]) -> None:
        """Do the next part of a fault, which may come too late."""
        try:
            next(act, None)
        except _TOO_LATE as e:
            self._stage.notes.append(f'{type(e).__name__}: {e}')

    def _settle(self) -> None:
        """Start what is dead, and wait until the migration is settled."""
        stage = self._stage
        for daemon in stage.services:
            daemon.at.wait_for_libvirtd()
        for daemon in stage.services:
            daemon.start()
        # a settlement passes states, too, and nobody would let it go on
        if stage.source in stage.services:
            stage.source.ask('hold', states=[])
        journal = stage.home.outside(
            stage.home.home / 'journal' / f'{stage.guest}.json'
        )
        stage.wait(lambda: not journal.exists(), timeout=_SETTLE)


def _side(seen: verdict.Evidence) -> str:
    return seen.at[0] if seen.at else seen.authority
