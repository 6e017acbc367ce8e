# SPDX-License-Identifier: Apache-2.0
"""The cells of the fault table, and the run of one cell."""

import dataclasses
import json
import logging
import pathlib
import time
import traceback
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.tests.faults import bed as beds
from nova_blockcopy.tests.faults import faults
from nova_blockcopy.tests.faults import run
from nova_blockcopy.tests.faults import stage as stages
from nova_blockcopy.tests.faults import verdict
from nova_blockcopy.tests.lab import scene

LOG = logging.getLogger(__name__)
_DRIVERS = ('libvirt', 'virsh')
#: The disks of the guest, in bytes, and seconds between two records.
_SIZE, _DATA, _REGION = 32 * scene.MIB, 8 * scene.MIB, 8 * scene.MIB
_INTERVAL = 0.02
#: The outcome of a cell that the harness could not run.
BROKEN = 'broken'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the table."""

    mode: str
    state: str
    fault: str

    @property
    def driver(self) -> str:
        """The copy driver; the drivers alternate over the table."""
        only = faults.FAULTS[self.fault].driver
        row = list(faults.FAULTS).index(self.fault)
        column = list(states.State).index(states.State(self.state))
        return only or _DRIVERS[(row + column) % len(_DRIVERS)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one cell; ``seconds`` is its time."""

    mode: str
    state: str
    fault: str
    driver: str
    outcome: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ''
    seconds: float = 0

    @property
    def cell(self) -> Cell:
        return Cell(mode=self.mode, state=self.state, fault=self.fault)

    @property
    def good(self) -> bool:
        return not self.problems

    def line(self) -> str:
        """Return the result as a line of JSON."""
        return json.dumps(dataclasses.asdict(self))


def cells(
    modes: Collection[str] = (),
    only_states: Collection[str] = (),
    only_faults: Collection[str] = (),
) -> list[Cell]:
    """Return the cells of the table, or of a part of it.

    :param modes: only these; empty for all
    """
    return [
        Cell(mode=mode, state=state, fault=name)
        for mode in model.Mode
        if not modes or mode in modes
        for name, fault in faults.FAULTS.items()
        if not only_faults or name in only_faults
        for state in states.way(mode)[:-1]
        if not only_states or state in only_states
        if fault.fits(mode, state)
    ]


def read(path: pathlib.Path) -> dict[Cell, Result]:
    """Read the results of earlier runs; the last one of a cell counts."""
    if not path.exists():
        return {}
    found = [_result(json.loads(line)) for line in path.open()]
    return {result.cell: result for result in found}


def _result(data: dict[str, Any]) -> Result:
    lists = {name: tuple(data[name]) for name in ('problems', 'notes')}
    return Result(**{**data, **lists})


def left(wanted: Iterable[Cell], known: Mapping[Cell, Result]) -> list[Cell]:
    """Return the cells without a good result."""
    return [
        cell for cell in wanted if cell not in known or not known[cell].good
    ]


def write(path: pathlib.Path, results: Iterable[Result]) -> None:
    """Replace the results of earlier runs."""
    path.write_text(''.join(f'{result.line()}\n' for result in results))


def run_cell(bed: beds.Bed, cell: Cell) -> Result:
    """Run one cell on a bed; an error of the harness is a result, too."""
    began = time.monotonic()
    try:
        seen, notes = _run(bed, cell)
        outcome, problems = verdict.outcome(seen), verdict.problems(seen)
        reason = seen.reason
        if problems:
            bed.keep(f'{cell.mode}-{cell.state}-{cell.fault}')
    except Exception as e:  # the other cells shall run
        LOG.warning('Cell %s\n%s', cell, traceback.format_exc())
        outcome, notes, reason = BROKEN, [], ''
        problems = [f'{type(e).__name__}: {e}']
    return Result(
        mode=cell.mode,
        state=cell.state,
        fault=cell.fault,
        driver=cell.driver,
        outcome=outcome,
        problems=tuple(problems),
        notes=tuple(notes),
        reason=reason,
        seconds=round(time.monotonic() - began, 1),
    )


def _run(bed: beds.Bed, cell: Cell) -> tuple[verdict.Evidence, list[str]]:
    fault = faults.FAULTS[cell.fault]
    options: dict[str, Any] = {
        **beds.OPTIONS,
        'mode': cell.mode,
        'driver': cell.driver,
    }
    bed.mend(shimmed=fault.shimmed)
    with bed.services(options) as services:
        made = scene.Scene.set(
            *(bed.lab, fault.kinds),
            base_kinds=fault.base_kinds,
            size=_SIZE,
            data=_DATA,
            region=_REGION,
            interval=_INTERVAL,
            **options,
        )
        try:
            stage = stages.Stage(bed, made, services)
            strike = run.Strike(fault=fault, state=states.State(cell.state))
            it = run.Run(stage, [strike])
            with stages.Watch(stage) as watch:
                it.migrate()
            seen = it.look(doubled=watch.doubled)
            it.finish()
            return it.again(seen), stage.notes
        finally:
            made.guest.log.stop()
