# SPDX-License-Identifier: Apache-2.0
"""An appraisal as ``plan`` prints it. Pure."""

import textwrap
from collections.abc import Iterator
from typing import Any

from cliff import columns

from nova_blockcopy import appraisal
from nova_blockcopy import model
from nova_blockcopy import outlook
from nova_blockcopy import plan
from nova_blockcopy.cli import words

#: Characters of a value, so that the table fits into 80 columns.
_WIDTH = 59


class Told(columns.FormattableColumn[list[tuple[str, Any]]]):
    """Several facts: each a sentence for people, and data for programs."""

    def human_readable(self) -> str:
        told = (
            textwrap.wrap(text, _WIDTH, subsequent_indent='  ')
            for text, _data in self._value
        )
        lines = [line for each in told for line in each]
        return '\n'.join(lines) or words.UNKNOWN

    def machine_readable(self) -> list[Any]:
        return [data for _text, data in self._value]


def details(found: appraisal.Appraisal, to: str) -> dict[str, Any]:
    """All of an appraisal, by the names that ``plan`` prints.

    :param to: the destination
    """
    measured = found.measured
    writes = [each.bytes_per_s for each in measured.writes.values()]
    growth = sum(found.growth(disk) for disk in measured.writes)
    outlooks = found.outlooks
    return {
        'instance': found.guest,
        'source': found.source.host,
        'destination': to,
        'result': Told([(text, text) for text in _result(found)]),
        'refusals': _sentences(found.refusals),
        'remarks': _sentences(found.remarks),
        'mode': str(found.mode),
        'disks': Told([_disk(each, found) for each in found.disks]),
        'left_alone': Told(list(map(_left, found.left_alone))),
        'travels': words.Size(found.travel_bytes),
        'measured_for': words.Span(round(measured.seconds) or None),
        'writes': words.Speed(sum(writes) if writes else None),
        'deltas_grow': words.Speed(growth if writes else None),
        'limit': words.Limit(found.rules.limit),
        'link': words.Speed(found.link_rate or None),
        'at_limit': Told(_outlook(outlooks.get('limit'), quiet=not writes)),
        'at_link_rate': Told(_outlook(outlooks.get('link'), quiet=not writes)),
        'bitmaps': words.Size(found.bitmap_bytes),
        'rooms': Told(list(_rooms(found))),
        'ports': Told(list(_ports(found))),
        'versions': Told(list(_versions(found))),
        'export_tls': Told(list(_encryption(found))),
    }


def _result(found: appraisal.Appraisal) -> Iterator[str]:
    if found.refusals:
        yield 'The migration would be refused.'
    elif found.destination is not None:
        yield 'The migration would begin.'
    else:
        yield 'Nothing on the source is against the migration.'
    if found.destination is None:
        yield f'The destination was not asked: {found.unasked}'


def _sentences(found: tuple[str, ...]) -> Told:
    return Told([(f'* {each}', each) for each in found])


def _disk(
    disk: appraisal.Disk, found: appraisal.Appraisal
) -> tuple[str, dict[str, Any]]:
    counted = found.measured.writes.get(disk.disk)
    rate = counted.bytes_per_s if counted else None
    data = {
        'disk': disk.disk,
        'path': disk.image.path,
        'format': str(disk.image.format),
        'size': disk.size_bytes,
        'travels': disk.travel_bytes,
        'all_layers': disk.whole,
        'writes': None if rate is None else round(rate),
        'granularity': found.granularities[disk.disk],
    }
    layers = ' with all layers' if disk.whole else ''
    written = '' if rate is None else f', written at {words.speed(rate)}'
    return (
        f'{disk.disk}: {words.size(disk.travel_bytes)} of '
        f'{words.size(disk.size_bytes)}{layers}{written}, {disk.image.format} '
        f'{disk.image.path}',
        data,
    )


def _left(left: plan.LeftAlone) -> tuple[str, dict[str, Any]]:
    return (
        f'{left.disk}: {left.reason}',
        {'disk': left.disk, 'reason': left.reason},
    )


def _outlook(
    found: outlook.Outlook | None, *, quiet: bool
) -> list[tuple[str, dict[str, Any]]]:
    """Tell the course at one rate.

    :param quiet: the writes were not measured, and count as none
    """
    if found is None:
        return []
    told = [f'{words.speed(found.rate)}:']
    if found.rounds:
        told += [
            f'{words.size(found.travel_bytes)} in {len(found.rounds)}',
            'round' if len(found.rounds) == 1 else 'rounds',
            f'of seeding, {_seconds(found.seeding_s)};',
            f'deltas of {words.size(found.delta_bytes)};',
        ]
    told.append(f'remote window {_seconds(found.window_s)}')
    if not found.converges:
        told.append('(the guest writes too fast)')
    if quiet:
        told.append('(if the guest writes nothing)')
    window_s = found.window_s
    data = {
        'rate': round(found.rate),
        'rounds': list(found.rounds),
        'seeding_s': round(found.seeding_s, 1),
        'remote_window_s': None if window_s is None else round(window_s, 2),
        'deltas': found.delta_bytes,
        'converges': found.converges,
        'writes_measured': not quiet,
    }
    return [(' '.join(told), data)]


def _seconds(span: float | None) -> str:
    if span is None:
        return 'without an end'
    return f'{span:.1f} s' if span < 60 else words.span(span)


def _sides(
    found: appraisal.Appraisal,
) -> Iterator[tuple[model.Role, appraisal.Side]]:
    yield model.Role.SOURCE, found.source
    if found.destination is not None:
        yield model.Role.DESTINATION, found.destination


def _rooms(
    found: appraisal.Appraisal,
) -> Iterator[tuple[str, dict[str, Any]]]:
    for role, side in _sides(found):
        for room in side.rooms:
            needed = ''
            if room.needed_bytes:
                needed = f', {words.size(room.needed_bytes)} needed'
            yield (
                f'{role}: {words.size(room.free_bytes)} free{needed} for '
                f'{room.purpose} in {room.place}',
                {
                    'side': str(role),
                    'purpose': room.purpose,
                    'place': room.place,
                    'free': room.free_bytes,
                    'needed': room.needed_bytes,
                    'most': room.most_bytes,
                },
            )


def _ports(
    found: appraisal.Appraisal,
) -> Iterator[tuple[str, dict[str, Any]]]:
    for role, side in _sides(found):
        for port in side.ports:
            answers = 'does not answer' if port.fault else 'answers'
            yield (
                f'from the {role}: {port.purpose}, {port.address}, {answers}',
                {
                    'from': str(role),
                    'purpose': port.purpose,
                    'address': port.address,
                    'answers': not port.fault,
                    'fault': port.fault,
                },
            )


def _versions(
    found: appraisal.Appraisal,
) -> Iterator[tuple[str, dict[str, Any]]]:
    for role, side in _sides(found):
        libvirt, qemu = map(plan.dotted, (side.libvirt, side.hypervisor))
        yield (
            f'{role}: libvirt {libvirt}, QEMU {qemu}',
            {'side': str(role), 'libvirt': libvirt, 'qemu': qemu},
        )


def _encryption(
    found: appraisal.Appraisal,
) -> Iterator[tuple[str, dict[str, Any]]]:
    for role, side in _sides(found):
        yield (
            f'{role}: {"on" if side.tls else "off"}',
            {'side': str(role), 'export_tls': side.tls},
        )
