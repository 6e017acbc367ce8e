# SPDX-License-Identifier: Apache-2.0
"""Bases for an instance that is to come, by Nova's own code."""

import ddt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.nova import bases
from nova_blockcopy.nova import compat
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import samples


def info(path, type_='raw', backing=''):
    """An entry of Nova's disk info."""
    return {
        'type': type_,
        'path': path,
        'virt_disk_size': 1024,
        'backing_file': backing,
        'disk_size': 1024,
        'over_committed_disk_size': 0,
    }


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
            bases.request(info('/dev/there/u_disk'), '/i/u'),
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
        asked = bases.request(info(f'/old/u/{name}', type_, backing), '/i/u')
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
            ValueError, bases.request, info('/old/u/disk', 'ploop'), '/i/u'
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


@ddt.ddt
class TestConfigDrive(base.TestCase):
    CONTENT = bytes(range(256)) * 4

    def setUp(self):
        super().setUp()
        self.folder = self.instances / samples.UUID
        self.folder.mkdir()
        self.place = self.folder / 'disk.config'
        source = self.directory / 'drive'
        source.write_bytes(self.CONTENT)
        self.packed = bases.pack_config_drive(str(source))

    @ddt.data(0, 10, 1024, 4096)
    def test_it_is_filled_in(self, size):
        """Whatever size the file is that Nova left."""
        self.place.write_bytes(b'\xff' * size)
        self.place.chmod(0o640)
        bases.write_config_drive(samples.UUID, self.packed)
        self.assertEqual(self.CONTENT, self.place.read_bytes())
        self.assertEqual(0o640, self.place.stat().st_mode & 0o777)

    def test_no_place_was_made_for_it(self):
        error = self.assertRaises(
            exception.PeerError,
            bases.write_config_drive,
            samples.UUID,
            self.packed,
        )
        self.assertIn(str(self.place), str(error))
        self.assertEqual([], list(self.folder.iterdir()))

    def test_nobody_can_write_elsewhere(self):
        outside = self.directory / 'disk.config'
        outside.write_bytes(b'kept')
        self.assertRaises(
            exception.PeerError,
            bases.write_config_drive,
            '../../' + self.directory.name,
            self.packed,
        )
        self.assertEqual(b'kept', outside.read_bytes())

    def test_it_travels_as_a_message(self):
        self.place.write_bytes(b'')
        engine = self.service()
        self.assertEqual(
            {},
            engine.answer(
                {
                    'operation': 'config_drive',
                    'guest': samples.UUID,
                    'content': self.packed,
                }
            ),
        )
        self.assertEqual(self.CONTENT, self.place.read_bytes())

    def test_a_failure_travels_back(self):
        answer = self.service().answer(
            {
                'operation': 'config_drive',
                'guest': samples.UUID,
                'content': self.packed,
            }
        )
        self.assertEqual('PeerError', answer['error']['class'])
