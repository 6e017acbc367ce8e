# SPDX-License-Identifier: Apache-2.0
"""The texts of the lines that follow a migration in the log. Pure."""

import dataclasses

from nova_blockcopy import bandwidth
from nova_blockcopy import events
from nova_blockcopy import forecast
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states

_ENDS = {
    events.Outcome.COMPLETED: 'has completed',
    events.Outcome.UNDONE: 'was undone',
    events.Outcome.ABORTED: 'was aborted',
    events.Outcome.STUCK: 'is stuck',
}
_VERIFIED = {
    None: 'nothing compared by checksums',
    model.Verify.NONE: 'nothing compared by checksums',
    model.Verify.SAMPLE: 'samples compared by checksums',
    model.Verify.FULL: 'all seeded data compared by checksums',
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The options of a host that the first line of a migration has."""

    driver: str
    export_address: str
    tls: bool


def round_done(
    number: int, now: forecast.Forecast, advice: forecast.Advice
) -> str:
    """The end of a round of seeding, and what comes next."""
    return f'Round {number} of seeding: {now}; {advice}'


def shortfall(
    now: forecast.Forecast, longest: float, guest_limit: int | None
) -> str:
    """A forecast that is too long, and what is done about it.

    :param longest: ``max_remote_window``, in seconds
    :param guest_limit: bytes/s that the guest may write to all disks
        together; None if the migration is undone instead
    """
    remedy = (
        'The migration is undone, because [blockcopy] seed_shortfall_action '
        'is abort'
        if guest_limit is None
        else f'The guest moves now, and may write at most '
        f'{guest_limit / bandwidth.MIB:.1f} MiB/s until its disks are copied'
    )
    return (
        f'The guest writes faster than its disks are copied: {now}, and '
        f'[blockcopy] max_remote_window is {longest:g} s. {remedy}'
    )


def start(version: str, started: events.Started, here: Host) -> str:
    """The first line of a migration on a host.

    :param version: of nova-blockcopy
    """
    subject = started.subject
    source = subject.role is model.Role.SOURCE
    begins = started.state is states.State.PREPARING
    facts = [
        f'guest "{subject.name}"',
        f'nova-blockcopy {version}',
        f'{subject.mode} mode',
        f'copy driver {here.driver}',
    ]
    if source:
        limit = started.limit / bandwidth.MIB
        facts += [
            f'from {started.home} to {started.destination}',
            f'exports at {here.export_address}',
            f'limit {limit:.0f} MiB/s' if limit else 'no limit',
        ]
    facts += [
        'by TLS' if here.tls else 'in clear text',
        ', '.join(
            f'disk {disk} of {_mib(size)}'
            for disk, size in started.disks.items()
        ),
    ]
    return (
        f'The migration {"to" if source else "from"} {subject.peer} '
        f'{"begins" if begins else f"goes on in state {started.state}"}: '
        f'{", ".join(filter(None, facts))}'
    )


def phase(changed: events.PhaseChanged) -> str:
    """A new state, with the note that the journal has about it."""
    # the reason of a stuck migration has a line of its own
    note = '' if changed.state is states.State.STUCK else changed.note
    return f'Phase {changed.state}' + (f' ({note})' if note else '')


def figures(now: progress.Progress) -> str:
    """The phase, and how far the copying is."""
    total = now.total_bytes
    if not total:
        return f'Phase {now.state}'
    done = now.processed_bytes
    text = (
        f'Phase {now.state}: {now.percent} %, {done // bandwidth.MIB} '
        f'of {_mib(total)}, {now.rate / bandwidth.MIB:.1f} MiB/s'
    )
    left = now.time_left_s
    return text if left is None else f'{text}, {left:.0f} s left'


def silence(now: progress.Progress, silent_s: float) -> str:
    """The last figures from a destination that does not answer."""
    return (
        f'The destination has not answered for {silent_s:.0f} s. '
        f'Before that: {figures(now)}'
    )


def end(ended: events.Ended, verified: model.Verify | None) -> str:
    """The last line of a migration on a host.

    :param verified: how much of the seeded data was compared; None in direct
        mode, which compares none
    """
    mode, copied = ended.subject.mode, _mib(ended.copied_bytes)
    phases = ', '.join(
        f'{state} {seconds:.1f} s' for state, seconds in ended.phases.items()
    )
    facts = [
        f'{mode} mode, {copied} copied in {ended.duration_s:.1f} s ({phases})'
    ]
    if ended.remote_window_s is not None:
        facts.append(f'remote window {ended.remote_window_s:.1f} s')
    if ended.longest_stop_s is not None:
        facts.append(
            f'the guest stood still for {ended.longest_stop_s:.2f} s at most'
        )
    if ended.outcome is events.Outcome.COMPLETED:
        facts.append(_VERIFIED[verified])
    if ended.allocated_before is not None:
        facts.append(f'{_mib(ended.allocated_before)} allocated before')
    if ended.allocated_after is not None:
        facts.append(f'{_mib(ended.allocated_after)} allocated after')
    return f'The migration {_ENDS[ended.outcome]}: {", ".join(facts)}'


def _mib(size: int) -> str:
    return f'{size // bandwidth.MIB} MiB'
