# SPDX-License-Identifier: Apache-2.0
"""Which steps a migration has, in order, in each mode."""

from nova_blockcopy import model
from nova_blockcopy.migration.source import seeding
from nova_blockcopy.migration.source import steps
from nova_blockcopy.records import journal


def all_steps(mode: model.Mode) -> tuple[steps.Step, ...]:
    seeded = (seeding.FreezeDisks(), seeding.SeedBases())
    return (
        steps.PrepareBases(),
        *(seeded if mode is model.Mode.SEEDED else ()),
        steps.ExportDisks(),
        steps.SwitchOver(),
        steps.CopyDisks(),
        steps.PivotDisks(),
        steps.ReleaseSource(),
    )


def begun(record: journal.Record) -> tuple[steps.Step, ...]:
    """The steps that a record tells of, in order."""
    seen = {entry.state for entry in record.history}
    return tuple(step for step in all_steps(record.mode) if step.state in seen)


def ahead(record: journal.Record) -> tuple[steps.Step, ...]:
    """The steps that are left, once a disk has pivoted."""
    # not from the pivot again: it is proven where a later one was begun
    last = begun(record)[-1].state
    steps_ = all_steps(record.mode)
    return steps_[[step.state for step in steps_].index(last) :]
