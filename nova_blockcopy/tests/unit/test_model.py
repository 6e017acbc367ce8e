# SPDX-License-Identifier: Apache-2.0
"""Values that are passed between threads and hosts do not change."""

import dataclasses

import ddt

from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.drivers import contract
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
        ('info', contract.JobInfo(processed=1, total=2, bandwidth=3)),
        (
            'status',
            contract.JobStatus(processed=1, total=2, bandwidth=3, ready=True),
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


@ddt.ddt
class TestMove(base.TestCase):
    layered = samples.layered('/old', '/below')

    def move(self, *deltas, whole=False):
        return dataclasses.replace(
            samples.move(source=self.layered), deltas=deltas, whole=whole
        )

    @ddt.data(
        ((), ['/old', '/below']),
        (('/d0',), ['/d0', '/old', '/below']),
        (('/d0', '/d1'), ['/d1', '/d0', '/old', '/below']),
    )
    @ddt.unpack
    def test_the_guest_writes_to_the_last_delta(self, deltas, chain):
        top = self.move(*deltas).top()
        self.assertEqual(chain, [image.path for image in model.chain(top)])
        self.assertEqual(samples.QCOW2, top.format)

    def test_what_both_hosts_have_is_not_read_over_the_network(self):
        self.assertIsNone(self.move().below())
        self.assertIsNone(samples.move().below())

    def test_what_lies_below_is_if_all_of_it_moves(self):
        self.assertEqual(self.layered.backing, self.move(whole=True).below())
        alone = dataclasses.replace(samples.move(), whole=True)
        self.assertIsNone(alone.below())

    @ddt.data(False, True)
    def test_so_is_what_was_frozen_last(self, whole):
        first = self.move('/d0', whole=whole)
        self.assertEqual(self.layered, first.below())
        second = self.move('/d0', '/d1', whole=whole)
        self.assertEqual(first.top(), second.below())

    @ddt.data(
        (samples.RAW, samples.RAW, False, False),
        (samples.RAW, samples.RAW, True, True),
        (samples.QCOW2, samples.RAW, False, True),
    )
    @ddt.unpack
    def test_by_content(self, source, target, whole, answer):
        move = samples.move(
            source=samples.image('/x', samples.FILE, source),
            base=samples.image('/y', samples.FILE, target),
        )
        move = dataclasses.replace(move, whole=whole)
        self.assertIs(answer, move.by_content)


class TestSeed(base.TestCase):
    def test_by_content_is_as_it_is_exported(self):
        for export, answer in (
            (samples.export(), False),
            (samples.content(), True),
        ):
            seed = model.Seed(
                disk='vda',
                source=samples.image('/x'),
                target=samples.image('/y'),
                export=export,
                extents=(),
                size_bytes=9,
            )
            self.assertIs(answer, seed.by_content)


@ddt.ddt
class TestSourceDisk(base.TestCase):
    def disk(self, target):
        return model.SourceDisk(
            disk=target,
            image=samples.image('/x'),
            size_bytes=9,
            identity=model.ImageIdentity(boot='b', device=1, inode=2),
        )

    @ddt.data('vda', 'sdaa', 'hdc', 'fda', 'xvdb1')
    def test_a_target_of_libvirt(self, target):
        self.assertEqual(target, self.disk(target).disk)

    @ddt.data('', '../x', '/etc/x', 'vda/../x', 'vd a', 'VDA', 'a' * 33, '.')
    def test_a_path(self, target):
        """The target is a part of the names of files."""
        error = self.assertRaises(ValueError, self.disk, target)
        self.assertIn('no target', str(error))
