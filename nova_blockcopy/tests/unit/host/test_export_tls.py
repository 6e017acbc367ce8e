# SPDX-License-Identifier: Apache-2.0
"""Exports by a real qemu-nbd with real certificates of one authority."""

import os
import subprocess

import ddt
import fixtures

from nova_blockcopy import exception
from nova_blockcopy.host import command
from nova_blockcopy.host import qemu
from nova_blockcopy.tests.lab import certificates
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import servers

SIZE = 1024 * 1024
OLD = 'NORMAL:-VERS-ALL:+VERS-TLS1.1'
NEW = ('NORMAL:-VERS-ALL:+VERS-TLS1.2', 'NORMAL:-VERS-ALL:+VERS-TLS1.3')


@ddt.ddt
class TestExporter(base.TestCase):
    """Of host-a, which serves a disk to host-b.example.org."""

    def setUp(self):
        super().setUp()
        self.useFixture(servers.Orphans())
        path = self.directory / 'disk.raw'
        path.write_bytes(b'x' * SIZE)
        self.image = samples.image(str(path), samples.FILE)
        self.authority = certificates.Authority(self.directory / 'authority')
        self.server = self.certify('/CN=host-a')
        self.first = servers.free_port()

    def certify(self, subject):
        """Make certificates with a subject, and return their directory."""
        made = self.directory / f'pki-{len(list(self.directory.iterdir()))}'
        self.authority.certify(made, '', '127.0.0.1', subject=subject)
        return made

    def exporter(self, **options):
        return servers.exporter(
            self.directory,
            self.first,
            30,
            export_tls=True,
            export_tls_dir=str(self.server),
            call_timeout=60,  # for a busy machine
            **options,
        )

    def start(self, peer='host-b.example.org', **options):
        exporter = self.exporter(**options)
        planned = servers.planned(f'unit-{os.getpid()}-{self.first}')
        started = exporter.start(planned, self.image, peer)
        self.addCleanup(exporter.stop, [started])
        return started

    def reaches(self, started, directory, priority='NORMAL'):
        where = (
            f'driver=nbd,host={started.address},port={started.port},'
            f'export={started.name},tls-creds=tls'
        )
        credentials = (
            f'tls-creds-x509,id=tls,endpoint=client,dir={directory},'
            f'priority={priority}'
        )
        done = subprocess.run(
            [
                *('qemu-img', 'info', '--object', credentials),
                *('--image-opts', where),
            ],
            check=False,
            capture_output=True,
        )
        return done.returncode == 0

    @ddt.data(
        '/CN=host-b.example.org',
        '/C=DE/O=Example/CN=host-b.example.org',
        '/CN=host-b.example.org/O=Example/C=DE',
        '/C=DE/O=Example, Inc./CN=host-b.example.org/emailAddress=a@b',
    )
    def test_the_destination_is_served(self, subject):
        self.assertTrue(self.reaches(self.start(), self.certify(subject)))

    @ddt.data(
        '/CN=console.example.org',
        # parts of the name, or more than it
        '/CN=host-b',
        '/CN=host-b.example.org.evil',
        '/CN=x.host-b.example.org',
        '/CN=host-bxexample.org',
        '/CN=HOST-B.example.org',
        '/CN=*',
        # the name in another place
        '/O=host-b.example.org',
        '/O=CN=host-b.example.org',
        '/CN=console/O=CN=host-b.example.org',
        '/O=x,CN=host-b.example.org',
        '/O=x\\\\,CN=host-b.example.org',
        '/O=x,CN=host-b.example.org/CN=console',
        '/CN=console/O=x,CN=host-b.example.org',
        '/C=DE/O=x,CN=host-b.example.org,y',
        '/CN=host-b.example.org,O=x',
        # the name next to others
        '/CN=console/CN=host-b.example.org',
        '/CN=host-b.example.org/CN=console',
        '/O=x+CN=host-b.example.org',
        '/CN=host-b.example.org+O=x/C=DE',
        '/O=Example',
    )
    def test_another_certificate_of_the_authority_is_not(self, subject):
        self.assertFalse(self.reaches(self.start(), self.certify(subject)))

    def test_another_certificate_is_not_served_after_a_restart(self):
        started = self.start()
        exporter = self.exporter()
        exporter.stop([started])
        exporter.revive(started, self.image, 'host-b.example.org')
        ours = self.certify('/CN=host-b.example.org')
        self.assertTrue(self.reaches(started, ours))
        self.assertFalse(self.reaches(started, self.server))

    @ddt.data(
        ('{short}', '/CN=host-b'),
        ('{host}.storage', '/CN=host-b.example.org.storage'),
        ('hypervisor', '/CN=hypervisor'),
    )
    @ddt.unpack
    def test_a_rule_for_names(self, template, subject):
        started = self.start(export_tls_client=template)
        self.assertTrue(self.reaches(started, self.certify(subject)))
        other = self.certify('/CN=host-b.example.org')
        self.assertFalse(self.reaches(started, other))

    @ddt.data('', '*', 'host-?', 'a,CN=b')
    def test_no_server_starts_for_everybody(self, peer):
        error = self.assertRaises(exception.ExportError, self.start, peer)
        self.assertIn(f'the destination "{peer}"', str(error))

    def test_no_old_tls_is_spoken(self):
        started = self.start()
        ours = self.certify('/CN=host-b.example.org')
        self.assertFalse(self.reaches(started, ours, OLD))
        for priority in NEW:
            self.assertTrue(self.reaches(started, ours, priority))

    def test_seeding_speaks_no_old_tls(self):
        ours = self.certify('/CN=host-b.example.org')
        self.seed(self.start(), ours)
        with fixtures.MonkeyPatch(f'{qemu.__name__}._PRIORITY', OLD):
            started = self.start()
        self.assertTrue(self.reaches(started, ours, OLD))
        error = self.assertRaises(
            command.CommandFailed, self.seed, started, ours
        )
        self.assertIn('TLS', str(error))

    def seed(self, started, directory):
        target = self.directory / 'target'
        target.write_bytes(bytes(SIZE))
        servers.seed(self.image, started, directory, target)
        self.assertEqual(b'x' * SIZE, target.read_bytes())
