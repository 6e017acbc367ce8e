# SPDX-License-Identifier: Apache-2.0
"""Faults of the link between the hosts, and of the channel."""

from collections.abc import Iterator

from nova_blockcopy.tests.faults import bed as beds
from nova_blockcopy.tests.faults import fault as faults
from nova_blockcopy.tests.faults import stage as stages

FAULTS: dict[str, faults.Fault] = {}
_fault = faults.into(FAULTS)


def _cut(
    it: stages.Stage, seconds: float, *, ways: tuple[bool, bool]
) -> Iterator[None]:
    """Drop packets for a time.

    :param ways: from the source, and from the destination
    """
    for at, other, drop in (
        (it.home, it.away, ways[0]),
        (it.away, it.home, ways[1]),
    ):
        if drop:
            beds.cut(at, other, drop=True)
    yield
    it.last(seconds)
    beds.cut(it.home, it.away, drop=False)
    beds.cut(it.away, it.home, drop=False)


@_fault('link-5', 'All packets between the hosts are dropped for 5 s.')
def link_5(it: stages.Stage) -> Iterator[None]:
    yield from _cut(it, 5, ways=(True, True))


@_fault('link-60', 'All packets between the hosts are dropped for 60 s.')
def link_60(it: stages.Stage) -> Iterator[None]:
    yield from _cut(it, 60, ways=(True, True))


@_fault(
    'link-half-open',
    'All packets from the source to the destination are dropped for 40 s.',
)
def link_half_open(it: stages.Stage) -> Iterator[None]:
    yield from _cut(it, 40, ways=(True, False))


@_fault('link-slow', 'The link has 2 Mbit/s for 15 s.', explains=False)
def link_slow(it: stages.Stage) -> Iterator[None]:
    it.bed.lab.set_link_rate(2)
    yield
    it.last(15)
    it.bed.lab.set_link_rate(None)


@_fault('answers-lost', 'The next three answers of the destination are lost.')
def answers_lost(it: stages.Stage) -> Iterator[None]:
    it.source.ask('trouble', kind='lost', messages=3)
    yield


@_fault(
    'answers-late',
    'The next three answers of the destination come 4 s late.',
    explains=False,
)
def answers_late(it: stages.Stage) -> Iterator[None]:
    it.source.ask('trouble', kind='late', messages=3)
    yield


@_fault(
    'messages-twice',
    'The next twenty messages to the destination arrive twice.',
    explains=False,
)
def messages_twice(it: stages.Stage) -> Iterator[None]:
    it.source.ask('trouble', kind='twice', messages=20)
    yield
