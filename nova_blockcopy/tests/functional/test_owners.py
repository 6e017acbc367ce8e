# SPDX-License-Identifier: Apache-2.0
"""QEMU is an ordinary user, and libvirt remembers the owners of images."""

import concurrent.futures
import os

from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import scene

#: libvirt keeps the owner of an image here (security_util.c).
_ATTRIBUTE = 'trusted.libvirt.security.dac'
_KINDS = ('block', 'raw', 'qcow2', 'layered')


class TestOwners(base.ModeTestCase):
    def owner(self, at, target, disks):
        """The owner of the file of a disk, and what libvirt remembers."""
        path = at.outside(disks[target].image.path)
        names = os.listxattr(path)
        return path.stat().st_uid, _ATTRIBUTE in names

    def test_there_and_back(self):
        made = self.set_scene(*_KINDS)
        files = [t for t in made.guest.targets if t != 'vda']
        for at in (self.lab.b, self.lab.a):
            made.run(made.migration())
            for target in files:
                uid, remembered = self.owner(at, target, made.bases)
                self.assertNotEqual(0, uid)
                self.assertTrue(remembered)
                _uid, remembered = self.owner(made.home, target, made.sources)
                self.assertFalse(remembered)
            for target in made.guest.targets:
                made.guest.log.wait_for_more(target, 20)
            made = made.reversed()
            made.empty_bases()
        self.assert_intact(made.reversed(), self.lab.a)

    def test_two_guests_at_a_time(self):
        guests = [
            self.set_scene('raw', 'layered', prefix=f'{number}.')
            for number in range(2)
        ]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            moves = [made.migration() for made in guests]
            list(pool.map(scene.Scene.run, guests, moves))
        for made in guests:
            self.assert_intact(made, self.lab.b)
