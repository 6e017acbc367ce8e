# SPDX-License-Identifier: Apache-2.0
"""Answers of a destination that has been taken over, to a source."""

import itertools
import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy import progress
from nova_blockcopy import wire
from nova_blockcopy.migration.source import offer
from nova_blockcopy.migration.source import remote
from nova_blockcopy.tests.fuzz import base
from nova_blockcopy.tests.fuzz import limits
from nova_blockcopy.tests.fuzz import samples
from nova_blockcopy.tests.fuzz import test_firmware
from nova_blockcopy.tests.fuzz import values

_PART = model.Extent(offset=0, length=512)
_OFFER = offer.Offer(
    source='host-a',
    boot='b',
    home=model.Endpoint(uri='qemu+tcp://a/system'),
    mode=model.Mode.SEEDED,
    tls=False,
    bases={'vda': model.BaseRequest(path='/base')},
    disks=(samples.DISK,),
    selection=plan.Selection(moves=('vda',), left_alone=()),
)
_MOVES = wire.pack(
    (plan.paired(samples.DISK, samples.MOVE.base, whole=False),)
)
_FAILURE = {'class': 'TooLate', 'message': 'it is too late.'}
_STATUS = {
    'state': 'seeding',
    'pivoted': ['vda'],
    'power': 'running',
    'disks': [
        {
            'disk': 'vda',
            'processed_bytes': 1,
            'total_bytes': 2,
            'ready': False,
            'pivoted': False,
        }
    ],
}
#: The answer to each order, and the result of its task.
_ANSWERS: dict[str, tuple[Any, Any]] = {
    'prepare': ({}, _MOVES),
    'received': (
        {'extents': {'vda': [{'offset': 0, 'length': 1}]}},
        None,
    ),
    'seed': ({}, None),
    'digest': ({}, ['ab']),
    'copy': ({}, None),
    'pivot': ({}, None),
    'state': ({}, None),
    'qemu_log': ({'log': 'x | y'}, None),
    'firmware': (
        {'files': {'nvram': test_firmware.packed(b'x')}},
        None,
    ),
    'pivoted': ({}, None),
    'discard': ({}, None),
}


@st.composite
def _conversations(draw):
    """An order, its answer, and the answers about its task."""
    name = draw(st.sampled_from(sorted(_ANSWERS)))
    answer, result = _ANSWERS[name]
    task = {'name': name, 'done': True, 'result': result, 'failure': None}
    if draw(st.booleans()):
        task['failure'] = draw(values.damaged(_FAILURE))
    status = draw(values.damaged(base.plain({**_STATUS, 'task': task})))
    if draw(st.booleans()):
        answer = {**answer, 'error': draw(values.damaged(_FAILURE))}
    return name, draw(values.damaged(answer)), status


class _Liar:
    """A channel with answers that do not depend on the questions."""

    def __init__(self, answer, status):
        self._answer, self._status = answer, status
        self._asked = itertools.count()

    def call(self, message):
        if next(self._asked) > 5:
            raise exception.PeerError(operation='answer', reason='it ended.')
        of_task = message['operation'] == 'status'
        return self._status if of_task else self._answer


def _call(name, far, watch):
    cancelled = threading.Event()
    seeds = (samples.SEED,)
    calls = {
        'prepare': lambda: far.prepare(
            _OFFER, dry_run=False, cancelled=cancelled
        ),
        'seed': lambda: far.seed(seeds, 0, watch, cancelled),
        'digest': lambda: far.digest(samples.SEED, (_PART,), cancelled),
        'copy': lambda: far.copy(
            *('', 0, watch, cancelled),
            synchronous_writes=False,
            guest_bandwidth=0,
        ),
        'pivot': lambda: far.pivot(watch),
        'pivoted': lambda: far.pivoted(0.01),
    }
    return calls.get(name, getattr(far, name))()


class TestAnswers(base.TestCase):
    @given(_conversations())
    def test_answers(self, drawn):
        name, answer, status = drawn
        meter = progress.Meter(iter(range(1000)).__next__)

        def watch(state, disks):
            str(meter.read(state, disks))

        far = remote.RemoteDestination(
            _Liar(answer, status), samples.RECORD, 0.001
        )
        with limits.example('answers of the destination'):
            found = _call(name, far, watch)
            if name == 'prepare':
                assert [move.disk for move in found] == ['vda']
                assert found[0].source == samples.DISK.image
