# SPDX-License-Identifier: Apache-2.0
"""Values survive their way through plain JSON."""

import json

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
        ('nothing', None, model.Endpoint, 'Endpoint'),
        ('no list', 5, tuple[model.Move, ...], 'tuple'),
    )
    @ddt.unpack
    def test_what_is_no_such_value_says_why(self, data, kind, why):
        error = self.assertRaises(ValueError, wire.unpack, data, kind)
        self.assertIn(why, str(error))
