# SPDX-License-Identifier: Apache-2.0
"""Values of the engine, from data of any shape."""

from typing import Any

from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st

from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.host import header
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import status
from nova_blockcopy.records import journal
from nova_blockcopy.records import received
from nova_blockcopy.tests.fuzz import base
from nova_blockcopy.tests.fuzz import limits
from nova_blockcopy.tests.fuzz import samples
from nova_blockcopy.tests.fuzz import values

_STATUS = status.Status(
    state=None,
    pivoted=('vda',),
    power=hypervisor.Power.RUNNING,
    disks=(model.DiskProgress(disk='vda'),),
    task=status.Task(
        name='seed', done=True, result=[1], failure={'class': 'x'}
    ),
)
_IDENTITY = model.ImageIdentity(boot='b', device=1, inode=2)
_BASE = received.Received(
    identity=_IDENTITY,
    base=samples.LAYERED,
    size_bytes=1024,
    extents=(model.Extent(offset=0, length=1),),
)
#: A value of each kind that travels or is kept.
KINDS: list[tuple[Any, Any]] = [
    (journal.Record, samples.RECORD),
    (status.Status, _STATUS),
    (header.Expected, header.Expected(backing=('/below',))),
    (dict[str, received.Received], {'vda': _BASE}),
    (tuple[model.Move, ...], samples.RECORD.moves),
    (tuple[model.Seed, ...], (samples.SEED,)),
    (tuple[model.SourceDisk, ...], (samples.DISK,)),
    (dict[str, model.BaseRequest], {'vda': model.BaseRequest(path='/x')}),
    (dict[str, tuple[model.Extent, ...]], {'vda': _BASE.extents}),
    (model.Rehearsal, model.Rehearsal(address='::1', port=1, word='w')),
    (list[str], ['a', 'b']),
    (dict[str, str], {'nvram': 'eJw='}),
]


class TestUnpack(base.TestCase):
    @given(
        st.sampled_from(KINDS).flatmap(
            lambda each: st.tuples(
                st.just(each[0]),
                values.damaged(base.plain(wire.pack(each[1]))),
            )
        )
    )
    def test_values_with_faults(self, drawn):
        kind, data = drawn
        with limits.example('wire', ValueError):
            found = wire.unpack(data, kind)
            packed = base.plain(wire.pack(found))
            assert wire.unpack(packed, kind) == found

    @given(st.sampled_from(KINDS), values.wrong)
    def test_other_data(self, of, data):
        with limits.example('wire', ValueError):
            wire.unpack(data, of[0])

    @given(st.integers(0, 1000))
    @example(1000)
    def test_layers(self, depth):
        image = base.plain(wire.pack(samples.LAYERED))
        for _layer in range(depth):
            image = {**image, 'backing': image}
        with limits.example('wire', ValueError):
            found = wire.unpack(image, model.Image)
            assert len(model.chain(found)) == depth + 2

    @given(values.files(base.plain(wire.pack(samples.RECORD))))
    def test_bytes(self, content):
        with limits.example('wire', ValueError):
            wire.parse(content)
