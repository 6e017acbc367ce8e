# SPDX-License-Identifier: Apache-2.0
"""After a crash: what a source's journal says is half done comes to an end.

Back to the source if no disk has pivoted, else forward. Both can be done
again if they fail, as every step can.
"""

import threading

from oslo_log import log as logging

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.source import modes
from nova_blockcopy.migration.source import remote
from nova_blockcopy.migration.source import source
from nova_blockcopy.migration.source import steps
from nova_blockcopy.records import journal

LOG = logging.getLogger(__name__)

#: In these, some disk may have pivoted already.
_AFTER_READY = frozenset(
    [
        states.State.PIVOTING,
        states.State.RELEASING,
        states.State.UNDOING,
        states.State.STUCK,
    ]
)


def settle(
    record: journal.Record,
    here: hypervisor.Hypervisor,
    channel: peer.Channel,
    settings: conf.Settings,
) -> model.Role:
    """Bring one migration to its end. Runs on the source.

    :param record: from this host's journal, with the role of the source
    :returns: the side on which the guest is at home now; the journal stays,
        for the caller to close when all else is settled too
    :raises BlockCopyError: it could not be done now; the journal stays
    """
    context = _context(record, here, channel, settings)
    LOG.warning(
        'Guest %s: its migration stopped in state %s',
        record.name,
        record.state,
    )
    ended = context.obituary()
    if ended is not None:
        LOG.error('%s', ended)
    if _is_over_there(context):
        for step in modes.ahead(record):
            context.note(step.state, 'after a crash', authority=step.authority)
            step.execute(context)
        side = model.Role.DESTINATION
    else:
        steps.take_back(context, modes.begun(record))
        side = model.Role.SOURCE
    LOG.warning('Guest %s is at home on the %s', record.name, side)
    return side


def _is_over_there(context: steps.Context) -> bool:
    record = context.record
    if record.authority is model.Role.DESTINATION:
        return True
    if record.state not in _AFTER_READY:
        return False
    return bool(context.destination.pivoted(context.settings.pivot_timeout))


def _context(
    record: journal.Record,
    here: hypervisor.Hypervisor,
    channel: peer.Channel,
    settings: conf.Settings,
) -> steps.Context:
    if record.home is None:
        raise exception.JournalError(
            path=record.guest, reason='it does not say how to get home.'
        )
    return steps.Context(
        guest=hypervisor.Guest(here, record.name, record.guest),
        source=source.Source(here, settings),
        destination=remote.RemoteDestination(
            channel, record, settings.poll_interval
        ),
        home=record.home,
        settings=settings,
        journal=journal.Journal(settings.journal_dir),
        record=record,
        switch=_no_switch,
        bandwidth=settings.copy.bandwidth,
    )


def _no_switch(
    _live_xml: str, _persistent_xml: str, _cancelled: threading.Event
) -> None:
    raise NotImplementedError('a guest is not switched over after a crash')
