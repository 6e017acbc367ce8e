#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Values that are passed between threads and hosts do not change."""

import dataclasses

import ddt

from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.drivers import base as driver_base
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples


@ddt.ddt
class TestValues(base.TestCase):
    @ddt.named_data(
        ('image', samples.layered('/top', '/below')),
        ('move', samples.move()),
        ('export', samples.export()),
        ('extent', model.Extent(offset=1, length=2)),
        (
            'seed',
            model.Seed(
                disk='vda',
                source=samples.image('/x'),
                target=samples.image('/y'),
                export=samples.export(),
                extents=(model.Extent(offset=1, length=2),),
                size_bytes=9,
            ),
        ),
        ('disk', model.Disk(target='vda', device='disk', source=None)),
        ('copy', model.CopySettings()),
        ('endpoint', model.Endpoint(uri='qemu:///system')),
        ('progress', progress.Progress(state=states.State.READY)),
        ('versions', plan.MINIMUM),
        ('info', driver_base.JobInfo(processed=1, total=2, bandwidth=3)),
        (
            'status',
            driver_base.JobStatus(
                processed=1, total=2, bandwidth=3, ready=True
            ),
        ),
    )
    def test_a_value_stays_what_it_is(self, value):
        for field in dataclasses.fields(value):
            self.assertRaises(
                dataclasses.FrozenInstanceError,
                setattr,
                *(value, field.name, None),
            )
        self.assertEqual(value, dataclasses.replace(value))
        self.assertEqual(hash(value), hash(dataclasses.replace(value)))

    def test_settings_do_not_change_while_they_are_used(self):
        settings = self.settings()
        self.assertRaises(
            dataclasses.FrozenInstanceError,
            setattr,
            *(settings, 'driver', 'other'),
        )

    @ddt.data(
        (samples.image('/x'), samples.image('/y')),
        (
            samples.layered('/top', '/below'),
            samples.layered('/top', '/other'),
        ),
        (samples.image('/x'), samples.image('/x', samples.FILE)),
    )
    @ddt.unpack
    def test_another_image_is_not_equal(self, one, other):
        self.assertNotEqual(one, other)


class TestMove(base.TestCase):
    def test_in_direct_mode_all_of_it_is_left_at_the_switchover(self):
        move = samples.move()
        self.assertIs(move, move.window())
        self.assertEqual(move.source, move.frozen())

    def test_in_seeded_mode_the_last_delta_is(self):
        move = dataclasses.replace(
            samples.move(source=samples.layered('/old', '/below')),
            deltas=('/d0', '/d1'),
            overlay='/overlay',
            whole=True,
        )
        window = move.window()
        self.assertEqual(
            ['/d1', '/d0', '/old', '/below'],
            [layer.path for layer in model.layers(window.source)],
        )
        self.assertEqual(
            ['/overlay', '/dev/new/vda'],
            [layer.path for layer in model.layers(window.base)],
        )
        # what lies below it is there by then
        self.assertEqual((window.source,), window.travelling())
        self.assertEqual(move.size_bytes, window.size_bytes)
        self.assertIs(window, window.window())
