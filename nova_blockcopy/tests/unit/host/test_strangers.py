# SPDX-License-Identifier: Apache-2.0
"""What a stranger at an export gets from a real qemu-nbd, and what not.

The stranger speaks NBD by itself, because a client of QEMU keeps to what the
server says of an export.
"""

import os
import socket
import ssl

import ddt

from nova_blockcopy.host import command
from nova_blockcopy.tests.lab import certificates
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import nbd
from nova_blockcopy.tests.unit.host import servers

SIZE = 1024 * 1024
#: The flags of a request: force unit access, and no hole.
_FUA, _NO_HOLE = 1, 2


class StrangerTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(servers.Orphans())
        self.path = self.directory / 'disk.raw'
        self.path.write_bytes(b'x' * SIZE)
        self.image = samples.image(str(self.path), samples.FILE)
        self.first = servers.free_port()

    def start(self, *, writable=False, peer='', **options):
        exporter = servers.exporter(
            self.directory, self.first, 30, call_timeout=60, **options
        )
        planned = servers.planned(
            f'unit-{os.getpid()}-{self.first}', writable=writable
        )
        started = exporter.start(planned, self.image, peer)
        self.addCleanup(exporter.stop, [started])
        return started

    def assert_untouched(self):
        self.assertEqual(b'x' * SIZE, self.path.read_bytes())


@ddt.ddt
class TestPlain(StrangerTestCase):
    """An export in clear text, which anybody reaches."""

    @ddt.data(
        (nbd.WRITE, 4096, 0),
        (nbd.WRITE, 4096, _FUA),
        (nbd.WRITE, 1, 0),
        (nbd.TRIM, 4096, 0),
        (nbd.TRIM, SIZE, _FUA),
        (nbd.ZEROES, 4096, 0),
        (nbd.ZEROES, SIZE, _NO_HOLE),
    )
    @ddt.unpack
    def test_what_is_only_read_is_not_changed(self, kind, length, flags):
        export = self.start()
        with nbd.Client(export) as client:
            self.assertEqual(nbd.ACK, client.go(export.name))
            self.assertIn(
                client.request(kind, 0, length, flags=flags), nbd.REFUSED
            )
            self.assertEqual(0, client.request(nbd.READ, 0, 4096))
        self.assert_untouched()

    def test_what_is_written_to_can_be_changed(self):
        """So the requests of the other tests are right."""
        export = self.start(writable=True)
        for kind in (nbd.WRITE, nbd.TRIM, nbd.ZEROES):
            self.path.write_bytes(b'x' * SIZE)
            with nbd.Client(export) as client:
                self.assertEqual(nbd.ACK, client.go(export.name))
                self.assertEqual(0, client.request(kind, 0, 65536))
            self.assertNotEqual(b'x' * SIZE, self.path.read_bytes())

    @ddt.data(
        (nbd.READ, SIZE, 1),
        (nbd.READ, 2**63, 4096),
        (nbd.WRITE, SIZE - 1, 4096),
        (nbd.TRIM, 2**64 - 4096, 4096),
    )
    @ddt.unpack
    def test_nothing_beyond_the_end(self, kind, offset, length):
        export = self.start(writable=True)
        with nbd.Client(export) as client:
            self.assertEqual(nbd.ACK, client.go(export.name))
            self.assertNotEqual(0, client.request(kind, offset, length))
        self.assertEqual(SIZE, self.path.stat().st_size)
        self.assert_untouched()

    @ddt.data('', 'x', '/', '../disk.raw', '*', '{}x', 'x{}', '{}/../{}')
    def test_another_name(self, template):
        export = self.start()
        name = template.format(*[export.name] * 2)
        for option in (nbd.INFO, nbd.GO):
            with nbd.Client(export) as client:
                self.assertEqual(nbd.UNKNOWN, client.go(name, option))
                self.assertEqual(nbd.ACK, client.go(export.name))

    @ddt.data(
        b'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
        b'SSH-2.0-OpenSSH_9.2\r\n',
        b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(506),
        bytes(4096),
        b'\xff' * 4096,
        # an option that is as long as it can be
        bytes([0, 0, 0, 3]) + b'IHAVEOPT' + b'\0\0\0\7\xff\xff\xff\xff',
        # and one that is shorter than its own length of the name
        bytes([0, 0, 0, 3])
        + b'IHAVEOPT'
        + b'\0\0\0\7\0\0\0\6\xff\xff\xff\xff\0\0',
        b'',
    )
    def test_scans_and_rubbish(self, rubbish):
        export = self.start()
        for _each in range(20):
            stranger = socket.create_connection(
                (export.address, export.port), timeout=30
            )
            self.addCleanup(stranger.close)  # most of them stay
            stranger.sendall(rubbish)
        with nbd.Client(export) as client:
            self.assertEqual(nbd.ACK, client.go(export.name))
            self.assertEqual(0, client.request(nbd.READ, 0, SIZE))
        self.assert_untouched()


@ddt.ddt
class TestTls(StrangerTestCase):
    """An export of host-a for host-b."""

    def setUp(self):
        super().setUp()
        self.authority = certificates.Authority(self.directory / 'authority')
        self.strangers = certificates.Authority(self.directory / 'strangers')

    def certify(self, subject, authority=None, address='127.0.0.1'):
        number = len(list(self.directory.iterdir()))
        made = self.directory / f'pki-{number}'
        (authority or self.authority).certify(
            made, '', address, subject=subject
        )
        return made

    def serve(self, authority=None, address='127.0.0.1'):
        own = self.certify('/CN=host-a', authority, address)
        return self.start(
            peer='host-b', export_tls=True, export_tls_dir=str(own)
        )

    @ddt.data(
        (nbd.LIST, b''),
        (nbd.STRUCTURED, b''),
        (nbd.LIST_CONTEXTS, bytes(8)),
        (nbd.SET_CONTEXT, bytes(8)),
    )
    @ddt.unpack
    def test_nothing_is_told_before_tls(self, option, data):
        with nbd.Client(self.serve()) as client:
            self.assertEqual(
                [nbd.TLS_REQUIRED],
                [kind for kind, _data in client.ask(option, data)],
            )

    def test_nothing_is_served_before_tls(self):
        """Not even whether a name is right."""
        export = self.serve()
        for name in (export.name, 'x', ''):
            for option in (nbd.INFO, nbd.GO):
                with nbd.Client(export) as client:
                    self.assertEqual(nbd.TLS_REQUIRED, client.go(name, option))

    @ddt.data('none', 'foreign', 'console', 'ours')
    def test_certificates_of_clients(self, whose):
        export = self.serve()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        directory = {
            'none': lambda: None,
            'foreign': lambda: self.certify('/CN=host-b', self.strangers),
            'console': lambda: self.certify('/CN=console'),
            'ours': lambda: self.certify('/CN=host-b'),
        }[whose]()
        if directory is not None:
            context.load_cert_chain(
                directory / 'client-cert.pem', directory / 'client-key.pem'
            )
        self.assertEqual(whose == 'ours', self.is_served(export, context))

    def is_served(self, export, context):
        with nbd.Client(export) as client:
            self.assertEqual(nbd.ACK, client.ask(nbd.START_TLS)[-1][0])
            try:
                client.encrypt(context)
                return client.go(export.name) == nbd.ACK
            except OSError:  # with TLS 1.3 the first answer tells
                return False

    @ddt.data('foreign', 'another host')
    def test_a_server_that_is_an_impostor(self, whose):
        """What it serves is not written to a base."""
        ours = self.certify('/CN=host-b')
        if whose == 'foreign':
            export = self.serve(self.strangers)
        else:
            export = self.serve(address='192.0.2.9')
        target = self.directory / 'target'
        target.write_bytes(bytes(SIZE))
        error = self.assertRaises(
            command.CommandFailed, self.seed, export, ours, target
        )
        self.assertIn('ertificate', str(error))
        self.assertEqual(bytes(SIZE), target.read_bytes())

    def seed(self, export, directory, target):
        servers.seed(self.image, export, directory, target)
