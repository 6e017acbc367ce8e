# SPDX-License-Identifier: Apache-2.0
"""The steps of one migration, put together from their parts."""

import dataclasses
import threading

from nova_blockcopy import conf
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import export
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import monitor
from nova_blockcopy.migration import pauses
from nova_blockcopy.migration import reservations
from nova_blockcopy.migration.source import comparison
from nova_blockcopy.migration.source import exports
from nova_blockcopy.migration.source import freeze
from nova_blockcopy.migration.source import ledger as ledgers
from nova_blockcopy.migration.source import lookout
from nova_blockcopy.migration.source import merge
from nova_blockcopy.migration.source import offer as offers
from nova_blockcopy.migration.source import pace
from nova_blockcopy.migration.source import remote
from nova_blockcopy.migration.source import rounds
from nova_blockcopy.migration.source import seed
from nova_blockcopy.migration.source import steps
from nova_blockcopy.migration.source import switch_over


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts that the steps of one migration are made from.

    ``connect`` leads to this host's libvirt. ``home`` is the endpoint at
    which the destination's libvirt reaches this host. ``cancelled`` asks to
    undo the migration.
    """

    guest: hypervisor.Guest
    connect: hypervisor.Connect
    destination: remote.RemoteDestination
    ledger: ledgers.Ledger
    monitor: monitor.Monitor
    pace: pace.Pace
    home: model.Endpoint
    settings: conf.Settings
    cancelled: threading.Event
    offer: offers.Offer = offers.NOTHING
    switch: switch_over.Switch = switch_over.never


def steps_of(parts: Parts) -> dict[states.State, steps.Step]:
    """Make all steps of both modes, by the state of each."""
    served = exports.Exports(export.Exporter(parts.settings), parts.ledger)
    watch = lookout.Lookout(
        guest=parts.guest,
        ledger=parts.ledger,
        selection=parts.offer.selection,
        cancelled=parts.cancelled,
        room=reservations.Reservations(parts.settings),
        settings=parts.settings,
    )
    all_steps = (
        steps.PrepareBases(
            destination=parts.destination,
            ledger=parts.ledger,
            offer=parts.offer,
            cancelled=parts.cancelled,
            settings=parts.settings,
        ),
        *_seeding(parts, served, watch),
        *_window(parts, served, watch),
        steps.ReleaseSource(
            guest=parts.guest,
            destination=parts.destination,
            ledger=parts.ledger,
            exports=served,
            monitor=parts.monitor,
        ),
    )
    return {step.state: step for step in all_steps}


def _seeding(
    parts: Parts, served: exports.Exports, watch: lookout.Lookout
) -> tuple[steps.Step, steps.Step]:
    freezer = freeze.Freezer(
        guest=parts.guest,
        ledger=parts.ledger,
        lookout=watch,
        settings=parts.settings,
    )
    return (
        seed.FreezeDisks(
            guest=parts.guest,
            ledger=parts.ledger,
            freezer=freezer,
            merger=_merger(parts),
        ),
        seed.SeedBases(
            guest=parts.guest,
            destination=parts.destination,
            ledger=parts.ledger,
            exports=served,
            freezer=freezer,
            rounds=rounds.Rounds(
                destination=parts.destination,
                ledger=parts.ledger,
                exports=served,
                lookout=watch,
                comparison=comparison.Comparison(
                    destination=parts.destination,
                    settings=parts.settings,
                    cancelled=parts.cancelled,
                ),
                monitor=parts.monitor,
                pace=parts.pace,
                cancelled=parts.cancelled,
            ),
            monitor=parts.monitor,
            pace=parts.pace,
            settings=parts.settings,
        ),
    )


def _merger(parts: Parts) -> merge.Merger:
    return merge.Merger(
        guest=parts.guest,
        connect=parts.connect,
        pauses=pauses.Pauses(
            parts.guest,
            lambda: parts.ledger.record,
            lambda paused: parts.ledger.note(paused=paused),
        ),
        settings=parts.settings,
    )


def _window(
    parts: Parts, served: exports.Exports, watch: lookout.Lookout
) -> tuple[steps.Step, ...]:
    """The steps of the remote window."""
    return (
        steps.ExportDisks(exports=served, lookout=watch),
        switch_over.SwitchOver(
            guest=parts.guest,
            destination=parts.destination,
            ledger=parts.ledger,
            exports=served,
            lookout=watch,
            home=parts.home,
            switch=parts.switch,
            cancelled=parts.cancelled,
            settings=parts.settings,
        ),
        steps.CopyDisks(
            destination=parts.destination,
            exports=served,
            ledger=parts.ledger,
            monitor=parts.monitor,
            pace=parts.pace,
            cancelled=parts.cancelled,
            settings=parts.settings,
        ),
        steps.PivotDisks(
            destination=parts.destination,
            exports=served,
            monitor=parts.monitor,
            settings=parts.settings,
        ),
    )
