# SPDX-License-Identifier: Apache-2.0
"""Which mounts may hang."""

import os

import ddt

from nova_blockcopy.host import mounts
from nova_blockcopy.tests.unit import base

_LINES = r"""
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
31 22 0:40 / /srv/my\040images rw shared:7 master:2 - nfs4 store:/x rw
32 31 254:2 / /srv/my\040images/local rw - xfs /dev/vdb rw
33 22 0:41 / /srv/other rw - fuse.sshfs store:/y rw
""".strip().splitlines()


@ddt.ddt
class TestMounts(base.TestCase):
    def setUp(self):
        super().setUp()
        self.mounts = [mounts._parsed(line) for line in _LINES]

    def containing(self, path, of):
        found = mounts.containing(path, of)
        assert found is not None
        return found

    def test_a_line(self):
        self.assertEqual(
            mounts.Mount(
                id='31',
                device=os.makedev(0, 40),
                point='/srv/my images',
                type='nfs4',
            ),
            self.mounts[1],
        )

    def test_which_are_served(self):
        self.assertEqual(
            ['31', '33'], [each.id for each in self.mounts if each.served]
        )

    @ddt.data(
        ('/etc/passwd', '22'),
        ('/srv/my images/disk', '31'),
        ('/srv/my images', '31'),
        ('/srv/my images/local/disk', '32'),
        ('/srv/my images2/disk', '22'),
        ('/', '22'),
    )
    @ddt.unpack
    def test_the_mount_of_a_path(self, path, expected):
        self.assertEqual(expected, self.containing(path, self.mounts).id)

    def test_a_later_mount_covers_an_earlier_one(self):
        line = _LINES[3].replace('33', '34')
        again = [*self.mounts, mounts._parsed(line)]
        self.assertEqual('34', self.containing('/srv/other/x', again).id)

    def test_a_path_outside_all_mounts(self):
        self.assertIsNone(mounts.containing('/x', self.mounts[1:]))

    def test_the_real_ones(self):
        own = mounts.of()
        inside = self.containing(str(self.directory.resolve()), own)
        self.assertEqual(os.stat(self.directory).st_dev, inside.device)
        self.assertLessEqual(
            {each.id for each in own}, {each.id for each in mounts.of_all()}
        )

    def test_a_process_that_has_ended(self):
        self.assertEqual([], mounts.of(str(2**30)))
