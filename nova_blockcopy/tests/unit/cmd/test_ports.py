# SPDX-License-Identifier: Apache-2.0
"""The ports of the exports, by real sockets."""

import socket

import psutil

from nova_blockcopy.tests.unit.cmd import base

_CHECK = 'Ports of the exports'


class TestPorts(base.CommandTestCase):
    def take(self, *ports):
        for port in ports:
            listener = socket.create_server(('127.0.0.1', port))
            self.addCleanup(listener.close)

    def test_all_are_free(self):
        said = self.check(self.file())
        self.assert_said(
            said, _CHECK, base.SUCCESS, f'nc -vz 127.0.0.1 {base.PORT}'
        )

    def test_some_are_in_use(self):
        self.take(base.PORT, base.PORT + 3)
        user = psutil.Process().name()
        self.assert_only(
            self.check(self.file()),
            *(_CHECK, base.WARNING, '2 of 10', f'{base.PORT + 3} by {user}'),
        )

    def test_all_are_in_use(self):
        self.take(*range(base.PORT, base.PORT + 10))
        self.assert_only(
            self.check(self.file()), _CHECK, base.FAILURE, 'All ports'
        )

    def test_the_address_is_not_here(self):
        self.assert_only(
            self.check(self.file('export_address = 203.0.113.77')),
            *(_CHECK, base.FAILURE, '203.0.113.77', 'export_address'),
        )

    def test_the_name_is_unknown(self):
        self.assert_only(
            self.check(self.file('export_address = host.invalid')),
            *(_CHECK, base.FAILURE, 'host.invalid', 'export_address'),
        )

    def test_those_of_the_memory(self):
        self.qemu_conf.write_text(
            f'migration_port_min = {base.PORT - 50}\n'
            f'migration_port_max = {base.PORT}\n'
        )
        self.assert_only(
            self.check(self.file()),
            *(_CHECK, base.WARNING, 'migration_port_max'),
        )

    def test_those_of_root(self):
        self.assert_only(
            self.check(self.file('export_port_min = 700')),
            *(_CHECK, base.FAILURE, 'below 1024'),
        )
