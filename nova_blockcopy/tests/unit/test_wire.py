# SPDX-License-Identifier: Apache-2.0
"""Values survive their way through plain JSON."""

import json
from typing import Any

import ddt

from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

DISK = model.SourceDisk(
    disk='vda',
    image=samples.layered('/top', '/below'),
    size_bytes=2**40,
    identity=model.ImageIdentity(boot='b', device=1, inode=2),
    backing_digest='abc',
)


def nested(depth):
    image: dict[str, Any] | None = None
    for _layer in range(depth):
        image = {
            'path': '/x',
            'kind': 'file',
            'format': 'qcow2',
            'backing': image,
        }
    return image


@ddt.ddt
class TestWire(base.TestCase):
    @ddt.named_data(
        ('move', samples.move(), model.Move),
        ('export', samples.export(), model.Export),
        ('disk', DISK, model.SourceDisk),
        ('endpoint', model.Endpoint(uri='qemu:///system'), model.Endpoint),
        ('request', model.BaseRequest(path='/x'), model.BaseRequest),
        (
            'many',
            (samples.move(), samples.move('vdb')),
            tuple[model.Move, ...],
        ),
        (
            'by name',
            {'vda': model.BaseRequest(path='/x', format=samples.QCOW2)},
            dict[str, model.BaseRequest],
        ),
        (
            'progress',
            (model.DiskProgress(disk='vda', ready=True, total_bytes=7),),
            tuple[model.DiskProgress, ...],
        ),
    )
    @ddt.unpack
    def test_there_and_back(self, value, kind):
        travelled = json.loads(json.dumps(wire.pack(value)))
        self.assertEqual(value, wire.unpack(travelled, kind))

    @ddt.named_data(
        ('missing', {'path': '/x', 'kind': 'file'}, model.Image, 'format'),
        (
            'surplus',
            {'uri': 'x', 'colour': 'red'},
            model.Endpoint,
            'colour',
        ),
        (
            'unknown word',
            {'path': '/x', 'kind': 'tape', 'format': 'raw'},
            model.Image,
            '$.kind',
        ),
        ('a number as text', {'offset': '1', 'length': 1}, model.Extent, '64'),
        ('a truth', {'offset': True, 'length': 1}, model.Extent, 'offset'),
        ('below zero', {'offset': -1, 'length': 1}, model.Extent, 'offset'),
        ('too large', {'offset': 2**64, 'length': 1}, model.Extent, 'offset'),
        ('a fraction', {'offset': 1.0, 'length': 1}, model.Extent, 'offset'),
        ('a NUL', {'uri': 'a\0b'}, model.Endpoint, '$.uri'),
        ('two lines', {'uri': 'a\nb'}, model.Endpoint, '$.uri'),
        ('half a character', {'uri': '\ud800'}, model.Endpoint, '$.uri'),
        ('letters', 'abc', tuple[str, ...], 'no list'),
        ('keys', {'a': 1}, list[str], 'no list'),
        ('in a list', [{}, 7], tuple[model.Endpoint, ...], '$[0]'),
        ('too deep', nested(300), model.Image, 'levels'),
        ('many', [{}] * 10**6, tuple[model.Move, ...], 'tuple'),
        ('nothing', None, model.Endpoint, 'Endpoint'),
        ('no list', 5, tuple[model.Move, ...], 'tuple'),
    )
    @ddt.unpack
    def test_what_is_no_such_value_says_why(self, data, kind, why):
        error = self.assertRaises(ValueError, wire.unpack, data, kind)
        self.assertIn(why, str(error))
        self.assertLess(len(str(error)), 500)
        self.assertEqual(1, len(str(error).splitlines()))

    def test_as_many_layers_as_libvirt_reads(self):
        image = wire.unpack(nested(200), model.Image)
        self.assertEqual(200, len(model.chain(image)))
        self.assertEqual(nested(200), wire.pack(image))

    @ddt.data(b'[' * 10**6, b'NaN', b'{"a": -Infinity}', b'\xff', b'', b'{')
    def test_what_is_no_json(self, content):
        self.assertRaises(ValueError, wire.parse, content)


class TestArguments(base.TestCase):
    def work(self, *, image: model.Image, name: str = 'x') -> None:
        pass

    def test_by_annotations(self):
        image = samples.image()
        packed = {'image': wire.pack(image)}
        self.assertEqual(
            {'image': image, 'name': 'x'},
            wire.arguments(TestArguments.work, packed),
        )
        wrongs: tuple[Any, ...] = (
            *({}, [], {**packed, 'name': 7}, {**packed, 'more': 1}),
        )
        for wrong in wrongs:
            self.assertRaises(
                ValueError, wire.arguments, TestArguments.work, wrong
            )
