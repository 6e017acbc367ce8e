# SPDX-License-Identifier: Apache-2.0
"""With our driver, guests that have nothing to copy: all of it is Nova's."""

from nova_blockcopy.tests.cloud.scenarios import blockcopy


class LeftToNovaTestCase(blockcopy.BlockCopyTestCase):
    """Block migration is refused, as Nova does; live migration is not ours."""

    def there_and_back(self, guest):
        journals = self._journals()
        guest.live_migrate(self.cloud.b)
        self.assertEqual('error', guest.wait_for_migration().status)
        self.assert_intact(guest, self.cloud.a)
        for to in (self.cloud.b, self.cloud.a):
            guest.live_migrate(to, block_migration='auto')
            self.assertEqual('completed', guest.wait_for_migration().status)
            self.assert_intact(guest, to)
            self.assertEqual([to.name], self.allocated(guest))
        # nothing was ever made there, not even to be removed again
        self.assertEqual(journals, self._journals())

    def _journals(self):
        """When each host's directory of journals last changed."""
        return [
            [
                path.stat().st_mtime_ns
                for path in (each.state / 'blockcopy').rglob('*')
            ]
            for each in self.cloud.computes
        ]


class TestSharedStorage(LeftToNovaTestCase):
    shared = True

    def test_there_and_back(self):
        guest = self.boot()
        files = self._files(guest)
        self.there_and_back(guest)
        self.assertEqual(files, self._files(guest))

    def _files(self, guest):
        """The guest's disks, told apart from others of the same names."""
        return {
            path.name: path.stat().st_ino
            for path in self.cloud.a.path(guest.uuid).glob('disk*')
        }


class TestNoLocalDisk(LeftToNovaTestCase):
    def test_there_and_back(self):
        guest = self.boot(from_volume=True)
        self.there_and_back(guest)
        self.assert_nothing_left(self.cloud.a)
