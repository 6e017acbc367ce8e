# SPDX-License-Identifier: Apache-2.0
"""Faults of a whole host: it loses power, and starts again.

What was not flushed to the disks of the host is lost. Nobody says
goodbye: the link goes together with the power.
"""

from collections.abc import Iterable
from collections.abc import Iterator

from nova_blockcopy import exception
from nova_blockcopy.tests.faults import bed as beds
from nova_blockcopy.tests.faults import daemon
from nova_blockcopy.tests.faults import fault as faults
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


def _is_left(it: stages.Stage) -> bool:
    return needs_operator(e['unsettled'] for e in it.events('unsettled'))


def needs_operator(reasons: Iterable[str]) -> bool:
    """Tell whether the engine left a guest to an operator.

    :param reasons: why attempts to settle have failed
    """
    name = exception.SourceRebooted.__name__
    return any(reason.startswith(f'{name}:') for reason in reasons)
