# SPDX-License-Identifier: Apache-2.0
"""Which processes count as the server of an export."""

import os

import ddt

from nova_blockcopy.host import servers
from nova_blockcopy.tests.unit import base

ALL = '000001ffffffffff'


def status(uid, bounding, no_new_privs):
    return {
        'Uid': '\t'.join([str(uid)] * 4),
        'CapBnd': bounding,
        'NoNewPrivs': str(int(no_new_privs)),
    }


@ddt.ddt
class TestIsConfined(base.TestCase):
    @ddt.data('0' * 16, '0000000000000002', '0000000000000004')
    def test_a_server(self, bounding):
        self.assertTrue(servers.is_confined(status(64055, bounding, True)))

    def test_the_launcher_of_one(self):
        self.assertTrue(
            servers.is_confined(status(0, '00000000000001c2', True))
        )

    @ddt.data((ALL, True), (ALL, False), ('0' * 16, False))
    @ddt.unpack
    def test_a_process_of_anybody(self, bounding, no_new_privs):
        self.assertFalse(
            servers.is_confined(status(1000, bounding, no_new_privs))
        )


class TestIsPlain(base.TestCase):
    def setUp(self):
        super().setUp()
        self.own = os.geteuid()

    def test_a_server_of_an_earlier_version(self):
        for program in ('qemu-nbd', 'qemu-nbd (deleted)'):
            self.assertTrue(
                servers.is_plain(status(self.own, ALL, False), program)
            )

    def test_another_program_with_these_arguments(self):
        self.assertFalse(
            servers.is_plain(status(self.own, ALL, False), 'sudo')
        )

    def test_another_user(self):
        other = status(self.own + 1, ALL, False)
        self.assertFalse(servers.is_plain(other, 'qemu-nbd'))
        mixed = {**other, 'Uid': f'{self.own + 1}\t{self.own}\t0\t0'}
        self.assertFalse(servers.is_plain(mixed, 'qemu-nbd'))
