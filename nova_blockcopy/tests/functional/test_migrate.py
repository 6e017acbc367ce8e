# SPDX-License-Identifier: Apache-2.0
"""A guest and its disks move from one host to the other."""

import os

from nova_blockcopy import domxml
from nova_blockcopy import model
from nova_blockcopy.tests.functional import base


class TestMigrate(base.ModeTestCase):
    """Every kind of disk arrives complete, and stays complete."""

    def _migrate(self, *kinds, **options):
        made = self.set_scene(*kinds, **options)
        made.run(made.migration())
        return made

    def test_block_device(self):
        made = self._migrate('block')
        self.assert_intact(made, self.lab.b)

    def test_raw_file(self):
        made = self._migrate('raw')
        self.assert_intact(made, self.lab.b)

    def test_qcow2_with_a_backing_file(self):
        """Only the top layer travels."""
        made = self._migrate('layered', interval=0.1, region=base.MIB)
        self.assert_intact(made, self.lab.b)
        source, arrived = made.sources['vda'], made.bases['vda']
        ratio = arrived.allocated_bytes / source.allocated_bytes
        self.assertTrue(0.95 < ratio < 1.05, ratio)

    def test_three_disks_of_mixed_kinds(self):
        made = self._migrate('block', 'layered', 'raw')
        self.assert_intact(made, self.lab.b)

    def test_bases_of_another_kind(self):
        made = self._migrate(
            *('block', 'raw', 'qcow2'), base_kinds=('raw', 'qcow2', 'block')
        )
        self.assert_intact(made, self.lab.b)

    def test_all_layers_into_bases_without_any(self):
        made = self._migrate(
            *('layered', 'layered'), base_kinds=('qcow2', 'block')
        )
        self.assert_intact(made, self.lab.b)

    def test_there_and_back(self):
        made = self._migrate('block', 'qcow2')
        for target in made.guest.targets:
            made.guest.log.wait_for_more(target, 20)
        back = made.reversed()
        back.run(back.migration())
        self.assert_intact(back, self.lab.a)

    def test_holes_stay_holes(self):
        # QEMU looks for zeroes in whole requests, so the few records that
        # lie in a hole of a block device fill that hole
        made = self._migrate('block', 'raw', region=base.MIB)
        self.assert_intact(made, self.lab.b)
        for target in made.guest.targets:
            source, arrived = made.sources[target], made.bases[target]
            ratio = arrived.allocated_bytes / source.allocated_bytes
            self.assertTrue(ratio < 1.1, (target, ratio))


class TestDefinitions(base.ModeTestCase):
    """What libvirt knows of the guest afterwards."""

    def test_both_definitions_name_the_bases(self):
        made = self.set_scene('block', 'layered')
        home = self._definition(self.lab.a, made)
        made.run(made.migration())
        for flags in (0, 2):
            found = domxml.disks(self._definition(self.lab.b, made, flags))
            for target, disk in made.bases.items():
                self.assertTrue(
                    domxml.at_image(found[target], disk.image), found
                )
        # and the settings of the remote window are gone with it
        drivers = [
            [
                dict(driver.attrib)
                for driver in domxml.parse(xml).iter('driver')
            ]
            for xml in (home, self._definition(self.lab.b, made))
        ]
        self.assertEqual(drivers[0], drivers[1])

    def _definition(self, at, made, flags=2):
        connection = at.connect()
        self.addCleanup(connection.close)
        return connection.lookupByUUIDString(made.guest.uuid).XMLDesc(flags)


class TestFormerTenant(base.ModeTestCase):
    """A base can be storage that a deleted guest has used."""

    _STALE = b'of a former tenant '

    def test_no_byte_of_it_is_left(self):
        made = self.set_scene('block', 'raw')
        for disk in made.bases.values():
            self._fill(disk)
        made.run(made.migration())
        self.assert_intact(made, self.lab.b)
        for target, disk in made.bases.items():
            self.assertNotIn(self._STALE, disk.file.read_bytes(), target)

    def _fill(self, disk):
        path = disk.path if disk.image.kind == 'block' else disk.file
        count = -(-disk.size_bytes // len(self._STALE))
        with open(path, 'r+b') as f:
            f.write((count * self._STALE)[: disk.size_bytes])
            os.fsync(f.fileno())


class TestNothingIsProbed(base.ModeTestCase):
    """A guest can write any header into its raw disk."""

    def test_a_qcow2_header_in_a_raw_disk_stays_data(self):
        made = self.set_scene('block', 'raw')
        for number, disk in enumerate(made.sources.values()):
            self._write_header(disk, number)
        made.run(made.migration())
        connection = self.lab.b.connect()
        self.addCleanup(connection.close)
        xml = connection.lookupByUUIDString(made.guest.uuid).XMLDesc()
        for target, disk in domxml.disks(xml).items():
            assert isinstance(disk.source, model.Image)
            self.assertEqual(model.ImageFormat.RAW, disk.source.format)
            self.assertIsNone(disk.source.backing)
            with made.bases[target].file.open('rb') as f:
                self.assertEqual(b'QFI\xfb', f.read(4))

    def _write_header(self, disk, number):
        """A header that names a secret of the host as its backing file."""
        secret = self.lab.directory / f'secret{number}.qcow2'
        os.system(
            f'qemu-img create -q -f qcow2 -F raw -b /etc/passwd -u '
            f'{secret} {disk.size_bytes}'
        )
        header = secret.read_bytes()[:4096]
        secret.unlink()
        fd = os.open(
            disk.path if disk.image.kind == 'block' else disk.file,
            os.O_WRONLY | os.O_SYNC,
        )
        try:
            os.pwrite(fd, header, 0)
        finally:
            os.close(fd)
