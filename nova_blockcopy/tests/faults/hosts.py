# SPDX-License-Identifier: Apache-2.0
"""Faults of a whole host: it loses power, or is lost for good.

What was not flushed to the disks of a host without power is lost. Nobody says
goodbye: the link goes together with the power.
"""

from collections.abc import Iterable
from collections.abc import Iterator

from nova_blockcopy import exception
from nova_blockcopy.states import State
from nova_blockcopy.tests.faults import bed as beds
from nova_blockcopy.tests.faults import daemon
from nova_blockcopy.tests.faults import fault as faults
from nova_blockcopy.tests.faults import person
from nova_blockcopy.tests.faults import stage as stages
from nova_blockcopy.tests.lab import host as hosts

FAULTS: dict[str, faults.Fault] = {}
_fault = faults.into(FAULTS)

#: Seconds for which a host without power is off.
_OFF = 10


@_fault(
    'source-power',
    'The source loses power for 10 s. An operator ends the guest on the '
    'destination if the engine asks for that.',
    shimmed=True,
)
def source_power(it: stages.Stage) -> Iterator[None]:
    it.off = True
    yield from _power(it, it.source)
    yield
    it.source.start()
    it.wait(lambda: bool(it.events('closed')) or _is_left(it))
    if _is_left(it):
        it.notes.append('an operator ended the guest')
        it.virsh(it.away, 'destroy', it.guest)


@_fault(
    'destination-power', 'The destination loses power for 10 s.', shimmed=True
)
def destination_power(it: stages.Stage) -> Iterator[None]:
    it.off = it.where() is it.away
    yield from _power(it, it.destination)


@_fault(
    'source-lost',
    'The source is lost for good. A person removes the rest of the migration.',
    shimmed=True,
    states=frozenset({State.RELEASING}),
)
def source_lost(it: stages.Stage) -> Iterator[None]:
    _cut(it, it.source)
    _lose(it, it.home)
    yield
    yield
    it.destination.kill()
    person.settle_away(it)
    yield
    _replace(it, it.home)


@_fault(
    'destination-lost',
    'The destination is lost for good before the pivot. A person settles the '
    'migration after two attempts of the source.',
    shimmed=True,
    states=faults.until(State.PIVOTING),
)
def destination_lost(it: stages.Stage) -> Iterator[None]:
    it.off = it.where() is it.away
    _cut(it, it.destination)
    _lose(it, it.away)
    yield
    yield
    it.wait(
        lambda: bool(len(it.events('unsettled')) > 1 or it.events('closed'))
    )
    if not it.events('closed'):
        it.source.kill()
        person.settle_at_home(it)
    yield
    _replace(it, it.away)


def _power(it: stages.Stage, of: daemon.Daemon) -> Iterator[None]:
    _cut(it, of)
    yield
    it.last(_OFF)
    _boot(it, of.at)
    if of is it.destination:
        of.start()


def _cut(it: stages.Stage, of: daemon.Daemon) -> None:
    """Cut the power of a host."""
    for at in (it.home, it.away):
        beds.cut(at, it.bed.other(at), drop=True)
    of.kill()
    lost = it.bed.supply(of.at).cut()
    it.notes.append(f'writes that were lost: {lost}')


def _boot(it: stages.Stage, at: hosts.Host) -> None:
    it.bed.supply(at).boot()
    for each in (it.home, it.away):
        beds.cut(each, it.bed.other(each), drop=False)


def _lose(it: stages.Stage, at: hosts.Host) -> None:
    """Lose a host without power, and what the engine has on its disks."""
    it.lost = at
    for name in ('journal', 'deltas'):
        at.run('find', str(at.home / name), '-type', 'f', '-delete')


def _replace(it: stages.Stage, at: hosts.Host) -> None:
    """Put a new host in the place of a lost one."""
    _boot(it, at)
    at.end_guests()
    if at is it.away:
        it.made.empty_bases()
    it.lost = None


def _is_left(it: stages.Stage) -> bool:
    return needs_operator(e['unsettled'] for e in it.events('unsettled'))


def needs_operator(reasons: Iterable[str]) -> bool:
    """Tell whether the engine left a guest to an operator.

    :param reasons: why attempts to settle have failed
    """
    name = exception.SourceRebooted.__name__
    return any(reason.startswith(f'{name}:') for reason in reasons)
