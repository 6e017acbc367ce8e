# SPDX-License-Identifier: Apache-2.0
"""The user of nova-compute, as the owner of its directory tells."""

import os

from nova_blockcopy.cmd import account
from nova_blockcopy.tests.unit import base

_NOBODYS = 2**31 - 3


class TestAccount(base.TestCase):
    def found(self, owner, present, path='/state'):
        real = os.stat

        def stat(wanted, *more, **options):
            if wanted != '/state':
                return real(wanted, *more, **options)
            return os.stat_result([0o40755, 1, 1, 1, owner, owner, *[0] * 4])

        self.patch(os, 'stat', stat)
        self.patch(os, 'geteuid', lambda: present)
        return account.of_nova_compute(path)

    def test_a_user_that_has_no_name(self):
        found = self.found(_NOBODYS, _NOBODYS)
        self.assertEqual((str(_NOBODYS), True), (found.name, found.present))
        self.assertTrue(account.can_look(found))

    def test_root_looks_for_another_user(self):
        found = self.found(_NOBODYS, 0)
        self.assertEqual((_NOBODYS, False), (found.uid, found.present))
        self.assertTrue(account.can_look(found))

    def test_a_stranger(self):
        found = self.found(_NOBODYS, _NOBODYS - 1)
        self.assertEqual((_NOBODYS, False), (found.uid, found.present))
        self.assertFalse(account.can_look(found))

    def test_what_belongs_to_root_tells_nothing(self):
        found = self.found(0, _NOBODYS)
        self.assertEqual((_NOBODYS, True), (found.uid, found.present))

    def test_root_for_itself(self):
        found = self.found(0, 0)
        self.assertEqual(('root', 0, 0), (found.name, found.uid, found.gid))

    def test_the_directory_is_not_there(self):
        found = self.found(0, _NOBODYS, '/no/such/directory')
        self.assertEqual((_NOBODYS, True), (found.uid, found.present))
