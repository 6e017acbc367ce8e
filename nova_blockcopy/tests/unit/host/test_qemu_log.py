# SPDX-License-Identifier: Apache-2.0
"""The end of a log that somebody else writes."""

import os

import fixtures

from nova_blockcopy.host import qemu_log
from nova_blockcopy.tests.unit import base


class TestTail(base.TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{qemu_log.__name__}._DIRECTORY', str(self.directory)
            )
        )

    def tail(self, content, guest='guest'):
        (self.directory / f'{guest}.log').write_bytes(content)
        return qemu_log.tail(guest)

    def test_its_last_lines(self):
        self.assertEqual(
            '2 | 3: Assertion failed | 4',
            self.tail(b'1\n2\n\n 3: Assertion failed \n4\n\n'),
        )

    def test_a_short_one(self):
        self.assertEqual('1', self.tail(b'1'))
        self.assertEqual('', self.tail(b''))

    def test_a_long_one(self):
        found = self.tail(b'x' * 2**20 + b'\n' + b'y' * 2000 + b'\nend\n')
        self.assertTrue(found.endswith('y | end'), found)
        self.assertLess(len(found), 1000)

    def test_what_is_no_text(self):
        self.assertIn('end', self.tail(b'\xff\xfe\nend'))

    def test_none(self):
        found = qemu_log.tail('gone')
        self.assertIn(str(self.directory / 'gone.log'), found)
        self.assertIn('No such file', found)

    def test_it_is_of_no_other_directory(self):
        inside = self.directory / 'inside'
        inside.mkdir()
        (self.directory / 'secret.log').write_text('secret')
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{qemu_log.__name__}._DIRECTORY', str(inside)
            )
        )
        found = qemu_log.tail(os.path.join('..', 'secret'))
        self.assertNotEqual('secret', found)
