# SPDX-License-Identifier: Apache-2.0
"""What stays on a destination for another attempt."""

import json
import os
import time

import ddt

from nova_blockcopy import model
from nova_blockcopy.host import images
from nova_blockcopy.nova import bases
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import kept
from nova_blockcopy.records import received
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import driver_base
from nova_blockcopy.tests.unit import samples

_SIZE = 1024
_LONG = 1000


@ddt.ddt
class TestKept(base.TestCase):
    def setUp(self):
        super().setUp()
        self.removed: list[str] = []
        self.fake(compat, 'remove_volumes', side_effect=self.removed.extend)
        self.home = self.instances / samples.UUID
        self.home.mkdir()
        self.folder = self.instances / f'{samples.UUID}_kept'
        self.group = self.directory / 'group'
        self.group.mkdir()
        self.notes = self.directory / 'journal'
        self.kept = self.made()

    def made(self):
        return kept.Kept(str(self.notes), str(self.instances))

    def book(self):
        return received.Book(str(self.notes), samples.UUID)

    def seed(self, disk, path, content='seeded'):
        """Something was seeded into a base."""
        path.write_text(content)
        self.book().begin(
            disk,
            received.Received(
                identity=model.ImageIdentity(boot='b', device=1, inode=2),
                base=samples.image(str(path), samples.FILE),
                size_bytes=_SIZE,
            ),
        )
        return str(path)

    def adopt(self, *paths, size=_SIZE):
        return self.kept.adopt(
            samples.UUID, dict.fromkeys(paths, (samples.RAW, size))
        )

    def assert_nothing_is_left(self):
        self.assertFalse(self.kept.has(samples.UUID))
        self.assertEqual([], self.kept.volumes(samples.UUID))
        self.assertFalse(self.folder.exists())

    @ddt.data('', '{', '[]', '{"until": 1}x', '{"until": "soon"}')
    def test_a_damaged_note_does_not_stop_a_start(self, content):
        volume = self.seed('vda', self.group / 'x_disk')
        self.kept.keep(samples.UUID, _LONG)
        (note,) = (self.notes / 'kept').glob('*.json')
        note.write_text(content)
        again = self.made()
        again.start()
        self.assertIn(str(note), self.log.output)
        # it stays, and nothing is removed by a guess
        self.assertTrue(again.has(samples.UUID))
        self.assertEqual([], self.removed)
        self.assertTrue(os.path.exists(volume))

    def test_nothing_was_seeded(self):
        (self.home / 'disk').touch()
        self.kept.keep(samples.UUID, _LONG)
        self.assert_nothing_is_left()
        self.assertTrue((self.home / 'disk').exists())

    def test_files_there_and_back(self):
        path = self.seed('vda', self.home / 'disk')
        inode = os.stat(path).st_ino
        (self.home / 'console.log').touch()
        self.kept.keep(samples.UUID, _LONG)
        self.assertTrue(self.kept.has(samples.UUID))
        # it is out of Nova's way, which makes a directory and files
        self.assertFalse(self.home.exists())
        self.home.mkdir()
        self.assertEqual([], self.adopt(path))
        (self.home / 'disk').write_text('new')
        self.kept.put_back(samples.UUID)
        self.assertEqual('seeded', (self.home / 'disk').read_text())
        # the book knows images by this
        self.assertEqual(inode, os.stat(path).st_ino)
        self.assertEqual(['disk'], os.listdir(self.home))
        self.assert_nothing_is_left()

    def test_volumes_there_and_back(self):
        first = self.seed('vda', self.group / 'u_disk')
        other = self.seed('vdb', self.group / 'u_disk.eph0')
        self.kept.keep(samples.UUID, _LONG)
        self.assertEqual(
            sorted([first, other]), sorted(self.kept.volumes(samples.UUID))
        )
        self.assertEqual([first], self.adopt(first))
        # the new flavor has no place for it
        self.assertEqual([other], self.removed)
        self.home.mkdir()
        self.kept.put_back(samples.UUID)
        self.assert_nothing_is_left()

    def test_one_of_another_size(self):
        path = self.seed('vda', self.home / 'disk')
        volume = self.seed('vdb', self.group / 'u_disk')
        self.kept.keep(samples.UUID, _LONG)
        self.home.mkdir()
        self.assertEqual([], self.adopt(path, volume, size=_SIZE + 1))
        self.kept.put_back(samples.UUID)
        self.assertEqual([volume], self.removed)
        self.assertEqual([], os.listdir(self.home))

    def test_nothing_is_kept(self):
        self.assertEqual([], self.adopt('/any'))
        self.kept.put_back(samples.UUID)
        self.kept.drop(samples.UUID)
        self.assertEqual([], self.removed)

    def keep_both(self, seconds):
        self.seed('vda', self.home / 'disk')
        volume = self.seed('vdb', self.group / 'u_disk')
        self.kept.keep(samples.UUID, seconds)
        return volume

    def test_dropped(self):
        volume = self.keep_both(_LONG)
        self.kept.drop(samples.UUID)
        self.assertEqual([volume], self.removed)
        self.assertEqual([], self.book().bases())
        self.assert_nothing_is_left()

    def wait_for_the_end(self):
        self.assertTrue(
            waiting.until(lambda: not self.kept.has(samples.UUID), timeout=30)
        )
        self.assert_nothing_is_left()

    def test_its_time_ends(self):
        volume = self.keep_both(0)
        self.wait_for_the_end()
        self.assertEqual([volume], self.removed)

    def test_its_time_ended_while_nova_compute_was_down(self):
        volume = self.keep_both(_LONG)
        now = time.time()
        self.fake(time, 'time', return_value=now + _LONG + 1)
        self.made().start()
        self.wait_for_the_end()
        self.assertEqual([volume], self.removed)

    def test_it_lasts_over_a_restart(self):
        self.keep_both(_LONG)
        self.made().start()
        self.assertTrue(self.kept.has(samples.UUID))
        self.assertTrue(self.folder.exists())

    def test_killed_between_adopting_and_putting_back(self):
        """Nova's rollback removes the rest, but knows nothing of that."""
        path = self.seed('vda', self.home / 'disk')
        self.kept.keep(samples.UUID, _LONG)
        self.adopt(path)
        self.made().start()
        self.assert_nothing_is_left()

    def test_an_earlier_time_is_not_the_end_of_a_later_one(self):
        self.keep_both(_LONG)
        self.kept._expire(samples.UUID, 1.0)
        self.assertTrue(self.kept.has(samples.UUID))


class TestDriver(driver_base.DriverTestCase):
    """With Nova's own code for the bases, and none of it for the rest."""

    def setUp(self):
        super().setUp()
        self.use_volumes('here')
        self.rolled_back = self.fake_nova(
            'rollback_live_migration_at_destination'
        )
        self.fake_nova('spawn')
        self.cleaned_up = self.fake_nova('_cleanup_lvm')
        self.checked = self.fake_nova(
            'check_can_live_migrate_destination',
            side_effect=lambda *_args: base.migrate_data(),
        )
        self.made = self.fake(compat, 'create_volume')
        self.removed = self.fake(compat, 'remove_volumes')
        self.fake(compat, 'list_volumes', return_value=[])
        path = self.directory / f'{samples.UUID}_disk'
        path.touch()
        self.path = str(path)
        self.fake(bases, 'volume_path', return_value=self.path)
        self.fake_nova('_lvm_disks', return_value=[self.path])

    def keep(self, terms=driver_base.AGREED, seconds=_LONG):
        """A migration is taken back that had seeded something."""
        self.conf.config(group='blockcopy', keep_seeded=seconds)
        self.driver._service = self.service()
        self.book().begin(
            'vda',
            received.Received(
                identity=images.identity(self.path),
                base=samples.image(self.path),
                size_bytes=1024,
            ),
        )
        self.driver.rollback_live_migration_at_destination(
            self.context, self.instance, [], {}, True, self.said(terms)
        )
        self.rolled_back.assert_called_once()

    def book(self):
        journals = self.driver._service.settings.journal_dir
        return received.Book(journals, samples.UUID)

    def check(self):
        return self.driver.check_can_live_migrate_destination(
            self.context, self.instance, {}, {}, True, False
        )

    def clean_up(self):
        self.driver._cleanup_lvm(self.instance, {})
        return self.cleaned_up.called

    def prepare(self):
        info = base.disk_info(f'/dev/there/{samples.UUID}_disk')
        self.driver.pre_live_migration(
            self.context,
            self.instance,
            {'block_device_mapping': []},
            [],
            json.dumps([info]),
            self.said(driver_base.AGREED),
        )

    def test_it_is_used_by_the_next_attempt(self):
        self.keep()
        self.assertFalse(self.clean_up())
        self.assertIsNotNone(handshake.read(self.check()))
        self.prepare()
        self.made.assert_not_called()
        self.removed.assert_not_called()
        self.assertEqual(1, len(self.book().bases()))
        # from here on they are bases like any others
        self.assertTrue(self.clean_up())

    def assert_not_kept(self):
        self.assertTrue(self.clean_up())
        self.assertEqual([], self.book().bases())
        self.assert_refused(
            compat.MigrationPreCheckError, self.path, call=self.check
        )

    def test_it_is_not_wanted(self):
        self.keep(seconds=0)
        self.assert_not_kept()

    def test_a_migration_that_is_not_ours(self):
        self.keep(terms=None)
        self.assert_not_kept()

    def test_the_instance_is_built_here(self):
        """Nova would take a volume of its name for its disk."""
        self.keep()
        self.driver.spawn(self.context, self.instance, 'meta', [], 'pw', {})
        self.removed.assert_called_once_with([self.path])
        self.assert_not_kept()
