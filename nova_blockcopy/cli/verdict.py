# SPDX-License-Identifier: Apache-2.0
"""Decides what a person may do about a migration that is left. Pure.

A verdict first tells about both copies of the disks: whether they are
complete, of which time they are, and what proves that. All of it is read on
this host. A refusal names the way that is safe.
"""

import dataclasses

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.cli import facts as found
from nova_blockcopy.host import hypervisor
from nova_blockcopy.records import journal

_Power = hypervisor.Power
#: The guest has a QEMU that can run, or is being moved.
_ALIVE = frozenset(_Power) - {_Power.OFF, _Power.IO_ERROR}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a deed is safe.

    ``known`` are sentences about both copies. ``deed`` says what will be
    done. ``refusal`` says why not, and what to do instead; '' = it is safe.
    """

    known: tuple[str, ...]
    deed: str = ''
    refusal: str = ''


def seen(record: journal.Record) -> frozenset[states.State]:
    """All states that a migration has had on this host."""
    return frozenset(entry.state for entry in record.history) | {record.state}


def known(record: journal.Record, facts: found.Facts) -> tuple[str, ...]:
    """Tell what this host knows of both copies."""
    if record.role is model.Role.SOURCE:
        copies = (_of_source(record, facts), _bases_by_source(record))
    else:
        copies = (_source_by_destination(record), _bases(record, facts))
    return (*copies, _of_guest(record, facts))


def adopt(
    record: journal.Record, facts: found.Facts, *, fenced: bool
) -> Verdict:
    """Judge whether the disks of this host may become the only ones.

    :param fenced: the person says that the other host is off
    """
    if record.role is model.Role.SOURCE:
        return _verdict(
            *(record, facts),
            'The steps of the migration are undone on this host, without the '
            'other one: the exporters end, the deltas are merged into the '
            'disks, and the guest is defined as before. A guest that is off '
            'stays off.',
            _why_not_source(record, facts, fenced=fenced),
        )
    return _verdict(
        *(record, facts),
        'The guest switches to the bases on this host, after a proof that '
        'they have each write. If they have not, nothing is changed.',
        _why_not_bases(record, facts),
    )


def abandon(
    record: journal.Record, facts: found.Facts, *, fenced: bool
) -> Verdict:
    """Judge whether the part of this host in a migration may be dropped.

    :param fenced: the person says that the other host is off
    """
    if record.role is model.Role.SOURCE:
        return _verdict(
            *(record, facts),
            'The exporters on this host end, and the deltas are removed. The '
            'source images stay, and are out of date.',
            _why_not_leave(record, facts, fenced=fenced),
        )
    if facts.power is _Power.IO_ERROR:
        deed = (
            'The guest on this host is ended, as by a loss of power, and '
            'forgotten. Its memory is lost. The disks on the source have all '
            'writes that it has flushed.'
        )
    else:
        deed = (
            'The migration is forgotten on this host. The bases stay for Nova '
            'to remove.'
        )
    return _verdict(record, facts, deed, _why_not_forget(record, facts))


def _verdict(
    record: journal.Record, facts: found.Facts, deed: str, refusal: str
) -> Verdict:
    if facts.power is None:
        refusal = f'libvirt does not answer: {facts.trouble}'
    return Verdict(known=known(record, facts), deed=deed, refusal=refusal)


def may_have_pivoted(record: journal.Record) -> bool:
    """Whether a disk may use its base, by the journal of the source.

    Only the source orders a pivot, and writes that down before.
    """
    return (
        record.authority is model.Role.DESTINATION
        or states.State.PIVOTING in seen(record)
        or states.State.RELEASING in seen(record)
    )


def _why_not_source(
    record: journal.Record, facts: found.Facts, *, fenced: bool
) -> str:
    if record.authority is model.Role.DESTINATION:
        return (
            f'the guest uses its bases on {record.peer}, and the disks here '
            f'are out of date. To drop them, use "nova-blockcopy abandon".'
        )
    if may_have_pivoted(record):
        return (
            f'the pivot was ordered, so disks on {record.peer} may have newer '
            f'data than those here. Start nova-compute on {record.peer}, or '
            f'use "nova-blockcopy show" there.'
        )
    if facts.power in _ALIVE:
        return ''
    if states.State.SWITCHING in seen(record):
        if facts.clients:
            return (
                f'the guest on {record.peer} is connected to the exports of '
                f'this host: it runs there. Use "nova-blockcopy settle".'
            )
        if not fenced:
            return (
                f'the guest may run on {record.peer}. Make sure that '
                f'{record.peer} is off and stays off, and give --fenced.'
            )
    return ''


def _why_not_bases(record: journal.Record, facts: found.Facts) -> str:
    if record.authority is model.Role.DESTINATION:
        return ''
    if not {states.State.COPYING, states.State.PIVOTING} & seen(record):
        return (
            f'the guest has never been on this host, and the bases are not '
            f'complete. Use the disks on {record.peer}.'
        )
    if facts.power is not _Power.OFF:
        return ''
    if _all_at_bases(record, facts):
        return ''
    here = [d for d, place in facts.places.items() if place == found.BASE]
    if here or record.pivoted:
        return (
            f'the guest is off, and only some disks are complete here '
            f'({", ".join(sorted({*here, *record.pivoted}))}). The others are '
            f'complete on {record.peer}. See "Only some disks have pivoted" '
            f'in the administration guide.'
        )
    return (
        f'the guest is off, and the bases are not complete. Use the disks on '
        f'{record.peer}.'
    )


def _why_not_leave(
    record: journal.Record, facts: found.Facts, *, fenced: bool
) -> str:
    if record.authority is not model.Role.DESTINATION:
        return (
            f'nothing proves that the guest uses its bases on {record.peer}. '
            f'Use "nova-blockcopy settle", which asks {record.peer}, or '
            f'"nova-blockcopy adopt --here" if the guest is to go on here.'
        )
    if facts.clients:
        return (
            'somebody is connected to the exports of this host. Use '
            '"nova-blockcopy settle".'
        )
    if not fenced:
        return (
            f'{record.peer} still has a journal, perhaps. "nova-blockcopy '
            f'settle" closes both. If {record.peer} will not come back, give '
            f'--fenced.'
        )
    return ''


def _why_not_forget(record: journal.Record, facts: found.Facts) -> str:
    at_base = [d for d, place in facts.places.items() if place == found.BASE]
    if record.authority is model.Role.DESTINATION or record.pivoted or at_base:
        return (
            'the guest uses bases on this host, and they may be the only '
            'complete disks. Use "nova-blockcopy adopt --here".'
        )
    if facts.power in _ALIVE:
        return (
            f'the guest is on this host ({facts.power}). Use "nova-blockcopy '
            f'settle" on {record.peer}.'
        )
    if facts.served:
        return (
            f'the exports of {record.peer} can be reached, so the guest can '
            f'go on. Use "nova-blockcopy settle" on {record.peer}.'
        )
    return ''


def _all_at_bases(record: journal.Record, facts: found.Facts) -> bool:
    return all(
        facts.places.get(move.disk) == found.BASE
        and move.disk in record.pivoted
        for move in record.moves
    )


def _of_source(record: journal.Record, facts: found.Facts) -> str:
    if record.authority is model.Role.DESTINATION:
        return (
            'Source (this host): out of date. The journal has the proof that '
            'all disks are on their bases.'
        )
    if may_have_pivoted(record):
        return (
            'Source (this host): complete, unless disks have pivoted. The '
            'pivot was ordered.'
        )
    with_deltas = ', with the deltas' if _deltas(record) else ''
    if facts.rebooted and states.State.SWITCHING in seen(record):
        when = 'as of the last flush of the guest before this host rebooted'
    elif facts.power is _Power.OFF:
        when = 'with each write that the guest has seen completed'
    else:
        when = 'as of now'
    return (
        f'Source (this host): complete{with_deltas}, {when}. The journal '
        f'proves that no pivot was ordered.'
    )


def _deltas(record: journal.Record) -> bool:
    return any(move.deltas for move in record.moves)


def _bases_by_source(record: journal.Record) -> str:
    place = f'Bases ({record.peer})'
    if record.authority is model.Role.DESTINATION:
        return f'{place}: complete. {record.peer} has proven that.'
    if may_have_pivoted(record):
        return f'{place}: complete for the disks that have pivoted.'
    return f'{place}: not complete, or not proven to be.'


def _source_by_destination(record: journal.Record) -> str:
    place = f'Source ({record.peer})'
    if record.authority is model.Role.DESTINATION:
        return f'{place}: out of date.'
    if record.pivoted:
        return (
            f'{place}: out of date for {", ".join(record.pivoted)}, complete '
            f'for the other disks.'
        )
    return f'{place}: complete. No disk is known to have pivoted.'


def _bases(record: journal.Record, facts: found.Facts) -> str:
    place = 'Bases (this host)'
    if record.authority is model.Role.DESTINATION:
        return f'{place}: complete. The definitions of the guest prove that.'
    at_base = {d for d, where in facts.places.items() if where == found.BASE}
    at_base |= set(record.pivoted)
    if not at_base:
        return f'{place}: not proven to be complete.'
    return f'{place}: complete for {", ".join(sorted(at_base))}.'


def _of_guest(record: journal.Record, facts: found.Facts) -> str:
    if facts.power is None:
        return f'Guest: not known ({facts.trouble}).'
    return f'Guest: {facts.power} on this host.'
