# SPDX-License-Identifier: Apache-2.0
"""The source's side: judgements about XML, names, and its own images."""

import dataclasses
import subprocess

import ddt

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.host import images
from nova_blockcopy.migration.source import source
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples


@ddt.ddt
class TestNeedsUnsafe(base.TestCase):
    @ddt.data(
        ('block', 'none', False),
        ('block', 'directsync', False),
        ('block', 'writeback', True),
        ('block', None, True),
        ('file', 'none', True),
    )
    @ddt.unpack
    def test_what_libvirt_would_refuse(self, kind, cache, answer):
        disk = model.Disk(
            target='vda', device='disk', source=None, cache=cache
        )
        image = samples.image('/x', model.ImageKind(kind))
        move = samples.move('vda', source=image)
        self.assertIs(answer, source.needs_unsafe({'vda': disk}, (move,)))
        # a delta is a file
        move = dataclasses.replace(move, deltas=('/delta',))
        self.assertTrue(source.needs_unsafe({'vda': disk}, (move,)))

    def test_only_moved_disks_matter_and_one_is_enough(self):
        disks = domxml.disks(
            samples.domain(
                samples.disk_xml('vda'),
                samples.disk_xml('vdb', driver='<driver type="raw"/>'),
            )
        )
        one, two = samples.move('vda'), samples.move('vdb')
        self.assertFalse(source.needs_unsafe(disks, (one,)))
        self.assertTrue(source.needs_unsafe(disks, (one, two)))


@ddt.ddt
class TestCheckExported(base.TestCase):
    moves = (samples.move('vda'), samples.move('vdb'))
    exports = {  # noqa: RUF012 - never changed
        'vda': (samples.export('vda', 1001),),
        'vdb': (samples.export('vdb', 1002), samples.content('vdb', 1003)),
    }

    def setUp(self):
        super().setUp()
        self.xml = domxml.point_at_exports(
            samples.domain(samples.disk_xml('vda'), samples.disk_xml('vdb')),
            self.moves,
            self.exports,
        )

    def test_every_disk_at_its_exports(self):
        source.check_exported(self.xml, self.moves, self.exports)

    @ddt.data(
        ('port="1002"', 'port="1001"'),
        ('export-of-vdb', 'export-of-vda'),
        ('port="1003"', 'port="1002"'),
        ('content-of-vdb', 'content-of-vda'),
        ('<backingStore type="network">', '<backingStore type="volume">'),
        ('192.0.2.1', '192.0.2.2'),
        ('protocol="nbd"', 'protocol="rbd"'),
        ('dev="vdb"', 'dev="vdc"'),
    )
    @ddt.unpack
    def test_any_other_place_is_refused(self, good, bad):
        self.assertIn(good, self.xml)
        error = self.assertRaises(
            exception.SwitchoverError,
            source.check_exported,
            self.xml.replace(good, bad),
            self.moves,
            self.exports,
        )
        self.assertIn('guest', str(error))

    def test_a_disk_that_is_still_local_is_refused(self):
        xml = samples.domain(samples.disk_xml('vda'), samples.disk_xml('vdb'))
        error = self.assertRaises(
            exception.SwitchoverError,
            source.check_exported,
            xml,
            self.moves,
            self.exports,
        )
        self.assertIn('vda', str(error))


class TestExportName(base.TestCase):
    def test_it_tells_what_it_is_and_is_never_the_same(self):
        one, two = (source.export_name('m1', 'vda') for _ in range(2))
        self.assertIn('m1', one)
        self.assertIn('vda', one)
        self.assertNotEqual(one, two)


class TestEncryption(base.TestCase):
    def setUp(self):
        super().setUp()
        xml = samples.domain(samples.disk_xml('vda'))
        self.here = fakes.Connection(fakes.Machine(xml)).hypervisor('host-a')

    def find(self, **overrides):
        side = source.Source(self.here, self.settings(**overrides))
        return side.guest(samples.UUID)

    def test_clear_text_has_to_be_allowed(self):
        self.assertIsNotNone(self.find(allow_plaintext=True))
        error = self.assertRaises(
            exception.PlaintextRefused, self.find, allow_plaintext=False
        )
        self.assertIn('host-a', str(error))

    def test_certificates_have_to_be_there(self):
        options = {
            'export_tls': True,
            'export_tls_dir': str(self.directory),
            'allow_plaintext': False,
        }
        for name in ('ca-cert.pem', 'server-cert.pem', 'server-key.pem'):
            error = self.assertRaises(
                exception.CertificateError, self.find, **options
            )
            self.assertIn(str(self.directory / name), str(error))
            (self.directory / name).touch()
        self.assertIsNotNone(self.find(**options))


class TestDescribe(base.TestCase):
    def setUp(self):
        super().setUp()
        self.below = str(self.directory / 'below')
        self.top = str(self.directory / 'top')
        with open(self.below, 'wb') as f:
            f.write(b'x' * 4096)
        subprocess.run(
            [
                *('qemu-img', 'create', '-q', '-f', 'qcow2', self.top),
                *('-b', self.below, '-F', 'raw', '1M'),
            ],
            check=True,
        )
        xml = samples.domain(
            samples.disk_xml(
                'vda',
                f'<source file="{self.top}"/><backingStore type="file">'
                f'<format type="raw"/><source file="{self.below}"/>'
                f'<backingStore/></backingStore>',
                type_='file',
                driver='<driver name="qemu" type="qcow2"/>',
            ),
            samples.disk_xml('sda', '', device='cdrom'),
        )
        self.here = fakes.Connection(fakes.Machine(xml)).hypervisor('host-a')
        self.guest = self.here.guest(samples.UUID)

    def describe(self, *targets, **overrides):
        side = source.Source(self.here, self.settings(**overrides))
        return side.describe(
            self.guest, plan.Selection(moves=targets, left_alone=())
        )

    def test_what_a_base_has_to_be_like(self):
        image = samples.layered(self.top, self.below)
        self.assertEqual(
            (
                model.SourceDisk(
                    disk='vda',
                    image=image,
                    size_bytes=1024 * 1024,
                    identity=images.identity(self.top),
                    backing_digest=images.digest(image.backing),
                ),
            ),
            self.describe('vda'),
        )

    def test_checksums_can_be_left_out(self):
        (disk,) = self.describe('vda', verify_backing=False)
        self.assertIsNone(disk.backing_digest)

    def test_a_drive_without_image_is_refused(self):
        error = self.assertRaises(exception.DiskRefused, self.describe, 'sda')
        self.assertIn('sda', str(error))
