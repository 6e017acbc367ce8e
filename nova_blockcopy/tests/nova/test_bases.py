# SPDX-License-Identifier: Apache-2.0
"""Bases for an instance that is to come, by Nova's own code."""

import ddt

from nova_blockcopy import model
from nova_blockcopy.nova import bases
from nova_blockcopy.nova import compat
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import samples


@ddt.ddt
class TestBases(base.TestCase):
    @ddt.data(
        ('lvm', '/dev/vg/u_disk', True),
        ('lvm', '/var/lib/nova/instances/u/disk.config', False),
        ('qcow2', '/dev/vg/u_disk', False),
        ('raw', '/var/lib/nova/instances/u/disk', False),
    )
    @ddt.unpack
    def test_what_is_a_volume(self, images, path, expected):
        self.conf.config(
            group='libvirt', images_type=images, images_volume_group='vg'
        )
        self.assertEqual(expected, bases.is_volume(path))

    def test_a_volume_is_in_this_hosts_own_group(self):
        self.use_volumes('here')
        self.assertEqual(
            model.BaseRequest(path='/dev/here/u_disk', format=samples.RAW),
            bases.request(base.disk_info('/dev/there/u_disk'), '/i/u'),
        )

    @ddt.data(
        ('disk', 'qcow2', '/b/_base/0123', False),
        ('disk', 'raw', '', False),
        ('disk', 'raw', None, False),
        ('disk.config', 'raw', '', False),
        ('disk.eph0', 'qcow2', '/b/_base/ephemeral_1_40d1d2c', True),
        ('disk.swap', 'qcow2', '/b/_base/swap_64', True),
        ('disk.eph0', 'qcow2', '/b/_base/0123', False),
        # what counts is the file, not a directory above it
        ('disk', 'qcow2', '/swap_of_names/_base/0123', False),
    )
    @ddt.unpack
    def test_a_file_is_in_the_instances_directory(
        self, name, type_, backing, whole
    ):
        asked = bases.request(
            base.disk_info(f'/old/u/{name}', type_, backing), '/i/u'
        )
        self.assertEqual(
            model.BaseRequest(
                path=f'/i/u/{name}',
                format=model.ImageFormat(type_),
                whole=whole,
            ),
            asked,
        )

    def test_a_format_that_cannot_be_moved(self):
        self.assertRaises(
            ValueError,
            bases.request,
            base.disk_info('/old/u/disk', 'ploop'),
            '/i/u',
        )


class TestVolumes(base.TestCase):
    """Nova's own calls of LVM, which need root, are put aside."""

    def setUp(self):
        super().setUp()
        self.use_volumes('here')
        self.volumes = ['other_disk']
        self.fake(compat, 'list_volumes', side_effect=self.listed)
        self.fake(compat, 'create_volume', side_effect=self.created)

    def listed(self, vg):
        self.assertEqual('here', vg)
        return list(self.volumes)

    def created(self, vg, lv, size, sparse=False):
        self.assertEqual(('here', 1024, False), (vg, size, sparse))
        self.volumes.append(lv)

    def test_it_is_made_of_the_size_and_name_it_has_over_there(self):
        bases.create_volume('/dev/there/u_disk', 1024)
        self.assertEqual(['other_disk', 'u_disk'], self.volumes)

    def test_one_that_exists_is_left_alone(self):
        self.volumes.append('u_disk')
        self.assert_refused(
            compat.DestinationDiskExists,
            '/dev/here/u_disk',
            call=lambda: bases.create_volume('/dev/there/u_disk', 1024),
        )
        self.assertEqual(['other_disk', 'u_disk'], self.volumes)
