# SPDX-License-Identifier: Apache-2.0
"""Recovery after a crash, which brings a half-done migration to an end.

The journal of the source tells how far the migration had come. If no disk has
pivoted, all steps are undone. Otherwise the remaining steps are done. A guest
on the destination does not come back to a source that was rebooted: either
its disks pivot, or an operator decides. If a settlement fails, the caller may
try again, because every step can be done twice.
"""

import threading
from collections.abc import Iterable

from nova_blockcopy import conf
from nova_blockcopy import events
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import monitor
from nova_blockcopy.migration import peer
from nova_blockcopy.migration import progress_log
from nova_blockcopy.migration.source import itinerary
from nova_blockcopy.migration.source import ledger as ledgers
from nova_blockcopy.migration.source import modes
from nova_blockcopy.migration.source import obituary
from nova_blockcopy.migration.source import pace
from nova_blockcopy.migration.source import reboot
from nova_blockcopy.migration.source import remote
from nova_blockcopy.migration.source import steps
from nova_blockcopy.records import journal
from nova_blockcopy.records import lock
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)


def settle(
    record: journal.Record,
    here: hypervisor.Hypervisor,
    channel: peer.Channel,
    settings: conf.Settings,
    observers: Iterable[events.Observer] = (),
) -> model.Role:
    """Bring one migration to an end. Runs on the source.

    :param record: from this host's journal, with the role of the source
    :param here: this host's libvirt
    :param observers: called with each event
    :returns: the host whose disks the guest uses now. The journal stays open,
        in state SETTLED; the caller closes it after its own part. The same
        holds for the destination's journal if the record is ``held``.
    :raises MigrationLocked: another process is at work on it
    :raises BlockCopyError: the attempt failed; the journal stays
    """
    if record.state is states.State.SETTLED:
        return record.authority
    with (
        logging.about(record.guest),
        lock.held(settings.journal_dir, record.guest),
    ):
        told = monitor.reporting(settings, observers, settings.copy.bandwidth)
        parts = _parts(record, here, channel, settings, told)
        silent_s = parts.destination.silent_s
        with progress_log.beating(parts.monitor, silent_s):
            return _settle(record, parts)


def _settle(record: journal.Record, parts: itinerary.Parts) -> model.Role:
    ended = obituary.of(parts.guest, parts.destination, record)
    if ended is not None:
        LOG.error('%s', ended)
    all_steps = itinerary.steps_of(parts)
    if _is_over_there(parts) or _comes_over(parts):
        for state in modes.ahead(parts.ledger.record):
            step = all_steps[state]
            parts.ledger.note(state, 'after a crash', authority=step.authority)
            step.execute()
        side = model.Role.DESTINATION
    else:
        begun = [all_steps[state] for state in modes.begun(record)]
        steps.take_back(begun, parts.ledger)
        side = model.Role.SOURCE
    parts.ledger.note(states.State.SETTLED)
    parts.monitor.end(_outcome(side, record))
    LOG.info('The guest now uses the disks of the %s', side)
    return side


def _outcome(side: model.Role, record: journal.Record) -> events.Outcome:
    if side is model.Role.DESTINATION:
        return events.Outcome.COMPLETED
    return events.Outcome.ABORTED if record.aborted else events.Outcome.UNDONE


def _is_over_there(parts: itinerary.Parts) -> bool:
    record = parts.ledger.record
    if record.authority is model.Role.DESTINATION:
        return True
    if record.state in states.MAY_HAVE_PIVOTED:
        over = bool(parts.destination.pivoted(parts.settings.pivot_timeout))
    else:
        begun = modes.begun(record)
        over = states.State.COPYING in begun and parts.destination.has_all()
    if over and states.State.PIVOTING not in modes.begun(record):
        _catch_up(parts.ledger)
    return over


def _catch_up(ledger: ledgers.Ledger) -> None:
    """Note the pivot that a person has ordered on the destination."""
    if ledger.record.state is states.State.COPYING:
        ledger.note(states.State.READY)
    ledger.note(states.State.PIVOTING, 'the guest uses its bases already')


def _comes_over(parts: itinerary.Parts) -> bool:
    """Have the guest use the bases if it must not come back.

    :returns: False if nothing keeps the guest from coming back
    :raises SourceRebooted: the guest can neither go on nor come back
    """
    record = parts.ledger.record
    if (
        not reboot.happened(record)
        or states.State.SWITCHING not in modes.begun(record)
        or parts.destination.power() is hypervisor.Power.OFF
    ):
        return False
    _bring_over(parts)
    return True


def _bring_over(parts: itinerary.Parts) -> None:
    """Have the guest use the bases, if the bases have each write.

    :raises SourceRebooted: some base may lack writes
    """
    ledger, destination = parts.ledger, parts.destination
    try:
        if ledger.record.state is states.State.COPYING:
            # all copies may have become ready while this host was off
            ledger.note(destination.state())
        ledger.note(states.State.PIVOTING, 'this host was rebooted')
        steps.insist(destination.pivot_without_source, parts.monitor.watch)
    except (
        exception.DriverError,
        exception.InvalidTransition,
        exception.JobFailed,
    ) as e:
        record = ledger.record
        raise reboot.failure(
            record,
            f'the copy there is not complete. To start the guest again from '
            f'its disks on the source, as after any loss of power, run '
            f'"nova-blockcopy abandon {record.name}" on {record.peer}. The '
            f'migration is then undone.',
        ) from e


def _parts(
    record: journal.Record,
    here: hypervisor.Hypervisor,
    channel: peer.Channel,
    settings: conf.Settings,
    told: monitor.Monitor,
) -> itinerary.Parts:
    if record.home is None:
        raise exception.JournalError(
            path=f'of guest "{record.name}"',
            reason='it does not name the address of this host. Report a '
            'bug, with this journal.',
        )
    return itinerary.Parts(
        guest=hypervisor.Guest(here, record.name, record.guest),
        connect=here.connect,
        destination=remote.RemoteDestination(
            channel, record, settings.poll_interval
        ),
        ledger=ledgers.Ledger(
            journal.Journal(settings.journal_dir), record, told
        ),
        monitor=told,
        pace=pace.Pace(copy=settings.copy.bandwidth),
        home=record.home,
        settings=settings,
        cancelled=threading.Event(),
    )
