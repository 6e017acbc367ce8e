# SPDX-License-Identifier: Apache-2.0
"""The source's side: judgements about XML, names, and its own images."""

import shutil
import subprocess

import ddt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.host import images
from nova_blockcopy.migration.source import exports
from nova_blockcopy.migration.source import readiness
from nova_blockcopy.tests.lab import certificates
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples


@ddt.ddt
class TestEncryption(base.TestCase):
    def setUp(self):
        super().setUp()
        xml = samples.domain(samples.disk_xml('vda'))
        self.here = fakes.Connection(fakes.Machine(xml)).hypervisor('host-a')

    def find(self, **overrides):
        side = readiness.Readiness(self.here, self.settings(**overrides))
        return side.guest(samples.UUID)

    def test_clear_text_has_to_be_allowed(self):
        self.assertIsNotNone(self.find(allow_plaintext=True))
        error = self.assertRaises(
            exception.PlaintextRefused, self.find, allow_plaintext=False
        )
        self.assertIn('host-a', str(error))

    def test_the_copy_driver_has_to_be_there(self):
        self.assertRaises(
            exception.UnknownDriver,
            self.find,
            allow_plaintext=True,
            driver='tape',
        )

    def test_certificates_have_to_be_there(self):
        made = self.directory / 'made'
        certificates.Authority(self.directory / 'authority').certify(
            made, 'host-a', '127.0.0.1'
        )
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
            shutil.copy(made / name, self.directory)
        self.assertIsNotNone(self.find(**options))

    @ddt.data('', '*', 'qemu:///system', 'qemu+tcp://[::1/system')
    def test_the_destination_has_to_have_a_name(self, peer):
        readiness.Readiness(self.here, self.settings()).peer(peer)
        side = readiness.Readiness(self.here, self.settings(export_tls=True))
        error = self.assertRaises(exception.PeerUnnamed, side.peer, peer)
        self.assertIn(f'"{peer}"', str(error))

    @ddt.data(
        ('host-b', 'host-b'),
        ('qemu+ssh://nova@host-b.example.org/system', 'host-b.example.org'),
        ('qemu+tls://[2001:db8::1]:16514/system', '2001:db8::1'),
    )
    @ddt.unpack
    def test_the_name_of_a_destination(self, peer, name):
        self.assertEqual(name, exports.peer_name(peer))
        side = readiness.Readiness(self.here, self.settings(export_tls=True))
        side.peer(peer)


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
        side = readiness.Readiness(self.here, self.settings(**overrides))
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
