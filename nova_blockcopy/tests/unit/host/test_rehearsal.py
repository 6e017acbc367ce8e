# SPDX-License-Identifier: Apache-2.0
"""A rehearsal of the connection to the exports."""

import dataclasses
import socket

import fixtures

from nova_blockcopy import exception
from nova_blockcopy.host import rehearsal
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit.host import servers


class TestRehearsal(base.TestCase):
    def on_ports(self, first, last):
        return self.settings(export_port_min=first, export_port_max=last)

    def refused(self, offered):
        error = self.assertRaises(
            exception.ExportsRefused, rehearsal.check, 'host-b', offered, 30
        )
        self.assertIn('host-b', str(error))
        self.assertIn(f'port {offered.port} of the source', str(error))
        return str(error)

    def test_it_is_heard_more_than_once(self):
        with rehearsal.listening('a', self.settings()) as offered:
            for _time in range(2):
                rehearsal.check('b', offered, 30)
        self.refused(offered)

    def test_the_first_free_port(self):
        with socket.create_server(('127.0.0.1', 0)) as taken:
            port = taken.getsockname()[1]
            error = self.assertRaises(
                exception.ExportsRefused,
                rehearsal.listening('a', self.on_ports(port, port)).__enter__,
            )
            self.assertIn(f'no port from {port} to {port}', str(error))
            with rehearsal.listening(
                'a', self.on_ports(port, port + 5)
            ) as offered:
                self.assertLess(port, offered.port)
                rehearsal.check('b', offered, 30)

    def test_another_program_answers(self):
        port = servers.free_port()
        with rehearsal.listening('a', self.on_ports(port, port)) as offered:
            other = dataclasses.replace(offered, word='x' * 32)
            self.assertIn('another program answers', self.refused(other))

    def test_an_address_of_another_host(self):
        settings = self.settings(export_address='192.0.2.1')
        error = self.assertRaises(
            exception.ExportsRefused,
            rehearsal.listening('a', settings).__enter__,
        )
        self.assertIn('[blockcopy] export_address', str(error))


class TestMeasure(base.TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(f'{rehearsal.__name__}._SENDS_S', 0.05)
        )

    def test_a_source_that_sends(self):
        with rehearsal.listening('a', self.settings(), sends=True) as offered:
            rehearsal.check('b', offered, 30)
            self.assertGreater(rehearsal.measure(offered, 30), 0)
            # it is still heard
            rehearsal.check('b', offered, 30)

    def test_a_source_that_does_not_send(self):
        with rehearsal.listening('a', self.settings()) as offered:
            self.assertEqual(0, rehearsal.measure(offered, 30))

    def test_a_program_without_the_word_gets_nothing(self):
        with rehearsal.listening('a', self.settings(), sends=True) as offered:
            other = dataclasses.replace(offered, word='x' * 32)
            self.assertEqual(0, rehearsal.measure(other, 30))

    def test_nobody_listens(self):
        with rehearsal.listening('a', self.settings()) as offered:
            pass
        self.assertEqual(0, rehearsal.measure(offered, 30))
