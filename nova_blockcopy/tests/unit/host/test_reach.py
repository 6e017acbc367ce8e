# SPDX-License-Identifier: Apache-2.0
"""Whether a destination is there, before anything depends on it."""

import errno
import socket
from unittest import mock

import ddt
import fixtures

from nova_blockcopy import exception
from nova_blockcopy.host import reach
from nova_blockcopy.tests.unit import base


@ddt.ddt
class TestCheck(base.TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(f'{reach.__name__}._PAUSE', 0))

    def unreachable(self, uri):
        error = self.assertRaises(
            exception.DestinationUnreachable,
            *(reach.check_destination, 'host-a', uri, 30),
        )
        self.assertIn('host-a', str(error))
        self.assertIn(uri, str(error))
        return str(error)

    def test_somebody_listens(self):
        with socket.create_server(('127.0.0.1', 0)) as server:
            port = server.getsockname()[1]
            uri = f'qemu+tcp://127.0.0.1:{port}/system'
            reach.check_destination('a', uri, 30)
            reach.check_source('b', uri, 30)
        self.assertIn(
            f'port {port} of 127.0.0.1',
            self.unreachable(f'qemu+tcp://127.0.0.1:{port}/system'),
        )

    def test_libvirtd_starts_again(self):
        refused = ConnectionRefusedError(errno.ECONNREFUSED, 'refused')
        with mock.patch.object(
            *(socket, 'create_connection'),
            autospec=True,
            side_effect=[refused, refused, mock.Mock()],
        ):
            reach.check_source('b', 'qemu+tcp://host-a/system', 30)

    def test_the_way_back(self):
        error = self.assertRaises(
            exception.SourceUnreachable,
            *(reach.check_source, 'host-b', 'qemu:///system', 30),
        )
        self.assertIn('host-b', str(error))
        self.assertIn('could not come back', str(error))

    @ddt.data('qemu:///system', 'qemu+unix://host/system', '', 'host-b')
    def test_a_uri_that_leads_nowhere(self, uri):
        self.assertIn('must name a host', self.unreachable(uri))

    @ddt.data(
        ('qemu+tcp://host-b/system', 16509),
        ('qemu+tls://host-b/system', 16514),
        ('qemu://host-b/system', 16514),
        ('qemu+ssh://root@host-b/system', 22),
        ('qemu+libssh://root@host-b/system', 22),
        ('qemu+libssh2://root@host-b/system', 22),
        ('qemu+ssh://root@host-b:2222/system', 2222),
    )
    @ddt.unpack
    def test_the_port_of_a_transport(self, uri, port):
        refused = ConnectionRefusedError(errno.ECONNREFUSED, 'refused')
        with mock.patch.object(
            socket, 'create_connection', autospec=True, side_effect=refused
        ):
            self.assertIn(
                f'port {port} of host-b does not answer (refused)',
                self.unreachable(uri),
            )

    @ddt.data(
        'qemu+tcp://host:abc/system',
        'qemu+tcp://host:99999/system',
        'qemu+tcp://[::1/system',
        f'qemu+tcp://{"x" * 70}/system',
    )
    def test_a_uri_that_is_none(self, uri):
        error = self.assertRaises(
            exception.DestinationUnreachable,
            *(reach.check_destination, 'host-a', uri, 1),
        )
        self.assertIn(uri, str(error))

    def test_no_answer_in_time(self):
        with mock.patch.object(
            socket,
            'create_connection',
            autospec=True,
            side_effect=TimeoutError('timed out'),
        ):
            self.assertIn(
                'timed out', self.unreachable('qemu+tcp://host-b/system')
            )
