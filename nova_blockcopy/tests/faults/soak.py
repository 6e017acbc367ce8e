# SPDX-License-Identifier: Apache-2.0
"""tools/soak: migrations there and back, with random faults.

Each migration has random disks, a mode, a driver, a limit, a link, one or two
faults and, now and then, an act of the guest's owner. The same seed makes the
same plan.
"""

import argparse
import contextlib
import dataclasses
import logging
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from collections.abc import Sequence

import libvirt

from nova_blockcopy import states
from nova_blockcopy.tests.faults import acts
from nova_blockcopy.tests.faults import bed as beds
from nova_blockcopy.tests.faults import fault
from nova_blockcopy.tests.faults import faults
from nova_blockcopy.tests.faults import options
from nova_blockcopy.tests.faults import run
from nova_blockcopy.tests.faults import stage as stages
from nova_blockcopy.tests.faults import tally
from nova_blockcopy.tests.faults import trips
from nova_blockcopy.tests.faults import verdict
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import inspection
from nova_blockcopy.tests.lab import lab
from nova_blockcopy.tests.lab import scene

LOG = logging.getLogger(__name__)
#: Seconds between two records of a disk, and between two operations of chaos.
_INTERVAL = 0.02
_CHAOS = 0.02
#: Bytes/s of a guest's load.
_LOAD = scene.MIB
#: The share of a region above which a new guest takes over.
_FULL = 0.7


class Soak:
    """Migrates one guest after the other back and forth.

    :param size: bytes of each disk
    :param region: bytes of each disk for records
    :param discards: some operations of chaos are discards
    :param inspected: the contents are compared in state READY
    """

    def __init__(
        self,
        bed: beds.Bed,
        *,
        size: int,
        region: int,
        discards: bool = True,
        inspected: bool = False,
    ) -> None:
        self._bed = bed
        self._size = size
        self._region = region
        self._discards = discards
        self._inspected = inspected
        self._made: scene.Scene | None = None
        self._guest = -1

    def move(self, trip: trips.Trip) -> tally.Leg:
        """Run one migration; an error of the harness is a result, too."""
        began = time.monotonic()
        engine = {
            **beds.OPTIONS,
            'mode': trip.mode,
            'driver': trip.driver,
            'block_migration_bandwidth': trip.limit,
        }
        leg = tally.Leg(trip=trip, way='', seconds=0)
        try:
            with self._bed.services(engine) as services:
                made = self._scene(trip)
                made.overrides = engine
                self._bed.lab.set_link_rate(trip.link or None)
                stage = stages.Stage(self._bed, made, services)
                leg = self._moved(stage, trip)
        except Exception as e:  # the next migration shall run
            LOG.warning('%s\n%s', trip, traceback.format_exc())
            leg = dataclasses.replace(leg, broken=f'{type(e).__name__}: {e}')
        if leg.problems:
            self._bed.keep(f'{trip.number}')
        self._prepare_next(leg)
        return dataclasses.replace(leg, seconds=time.monotonic() - began)

    def _moved(self, stage: stages.Stage, trip: trips.Trip) -> tally.Leg:
        known = {**faults.FAULTS, **acts.ACTS}
        strikes = [
            run.Strike(
                fault=known[blow.name], state=blow.state, delay=blow.delay
            )
            for blow in trip.blows
        ]
        with contextlib.ExitStack() as stack:
            seen = stack.enter_context(inspection.Inspection(stage.made))
            if self._inspected:
                strikes.insert(0, _inspecting(seen))
            it = run.Run(stage, strikes)
            with stages.Watch(stage) as watch:
                it.migrate()
            evidence = it.look(doubled=watch.doubled)
            it.finish()
        return tally.Leg(
            trip=trip,
            way=f'{stage.home.name} to {stage.away.name}',
            seconds=0,
            struck=tuple(n for n in it.struck if n in known),
            seen=evidence,
            differences=tuple(map(str, seen.differences)),
            notes=tuple(stage.notes),
            broken=(
                'the contents were not compared'
                if self._inspected and not seen.done
                else ''
            ),
        )

    def _scene(self, trip: trips.Trip) -> scene.Scene:
        """Return the scene of the guest, and make it if the guest is new."""
        if self._made is not None and self._guest == trip.guest:
            return self._made
        self._clear()
        self._guest = trip.guest
        self._made = scene.Scene.set(
            self._bed.lab,
            trip.kinds,
            size=self._size,
            data=self._size // 4,
            region=self._region,
            interval=_INTERVAL,
            load=_LOAD if trip.writes == trips.LOAD else 0,
            load_length=self._size // 8,
            chaos=_CHAOS if trip.writes == trips.CHAOS else 0,
            discards=self._discards,
            acpi=True,
        )
        return self._made

    def _clear(self) -> None:
        if self._made is not None:
            self._made.guest.log.stop()
            self._made = None
        self._bed.mend()

    def _prepare_next(self, leg: tally.Leg) -> None:
        made, seen = self._made, leg.seen
        if made is None or seen is None or leg.problems or _is_full(made):
            self._clear()
            return
        self._bed.heal()
        side = seen.at[0] if seen.at else seen.authority
        if side == verdict.DESTINATION:
            self._made = made.reversed()
            try:
                self._made.empty_bases()
            except subprocess.CalledProcessError as e:
                LOG.warning('%s: %s', e, e.stderr)
                self._clear()


def _is_full(made: scene.Scene) -> bool:
    guest = made.guest
    most = max(guest.log.written(target) for target in guest.targets)
    return most > _FULL * guest.region.slots


def _inspecting(seen: inspection.Inspection) -> run.Strike:
    """Return a strike that compares both sides in state READY."""

    def inspect(_it: stages.Stage) -> Iterator[None]:
        seen.inspect()
        yield

    it = fault.Fault(name='inspection', about='', act=inspect)
    return run.Strike(fault=it, state=states.State.READY)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak.

    :returns: 0 if all is well, 1 if data was lost, a guest ran on both hosts
        or a migration is stuck without a reason, 2 if the soak cannot run
    """
    wanted = options.parser(__doc__).parse_args(argv)
    # the line of each migration has its errors, so libvirt must not print them
    libvirt.registerErrorHandler(lambda *_ignored: None, None)
    logging.basicConfig(level=logging.ERROR)
    LOG.setLevel(logging.WARNING)
    lab.sweep()
    legs: list[tally.Leg] = []
    try:
        with beds.Bed(wanted.logs) as bed:
            _run(bed, wanted, legs)
    except host.LabError as e:
        print(e, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('Interrupted', file=sys.stderr)
    print(tally.tally(wanted.seed, legs), flush=True)
    return 1 if any(leg.bad for leg in legs) else 0


def _run(
    bed: beds.Bed, wanted: argparse.Namespace, legs: list[tally.Leg]
) -> None:
    soak = Soak(
        bed,
        size=wanted.size * scene.MIB,
        region=wanted.region * scene.MIB,
        discards=not wanted.no_discards,
        inspected=wanted.chaos,
    )
    end = time.monotonic() + (wanted.seconds or float('inf'))
    for trip in trips.trips(wanted.seed, options.choice(wanted)):
        if len(legs) == wanted.count or time.monotonic() > end:
            return
        legs.append(soak.move(trip))
        print(legs[-1].line(), flush=True)


if __name__ == '__main__':
    sys.exit(main())
