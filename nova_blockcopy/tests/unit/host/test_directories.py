# SPDX-License-Identifier: Apache-2.0
"""Directories in which nobody else may read or write."""

import os
import pathlib
import stat

import ddt
import fixtures

from nova_blockcopy import exception
from nova_blockcopy.host import directories
from nova_blockcopy.tests.unit import base

_NOVA, _STRANGER = 64060, 1000


def level(mode, uid=0, gid=0):
    return directories.Level(
        path='/state', mode=stat.S_IFDIR | mode, uid=uid, gid=gid
    )


@ddt.ddt
class TestRefusal(base.TestCase):
    @ddt.data(
        level(0o755),
        level(0o711, uid=_NOVA),
        level(0o775, gid=0),
        level(0o775, uid=_NOVA, gid=_NOVA),
        level(0o1777),
    )
    def test_safe(self, found):
        self.assertIsNone(self.refusal(found))

    @ddt.data(
        (level(0o755, uid=_STRANGER), 'belongs to the user 1000'),
        (level(0o1777, uid=_STRANGER), 'belongs to the user 1000'),
        (level(0o777), 'chmod go-w /state'),
        (level(0o775, gid=_STRANGER), 'chmod go-w /state'),
    )
    @ddt.unpack
    def test_unsafe(self, found, words):
        self.assertIn(words, self.refusal(found))

    def refusal(self, found):
        return directories.refusal(found, {0, _NOVA}, {0, _NOVA})


@ddt.ddt
class TestMayWrite(base.TestCase):
    @ddt.data(
        level(0o700, uid=_NOVA),
        level(0o770, gid=_NOVA),
        level(0o703, uid=_STRANGER, gid=_STRANGER),
    )
    def test_it_may(self, found):
        self.assertTrue(directories.may_write(found, _NOVA, _NOVA))

    @ddt.data(
        level(0o755),
        level(0o577, uid=_NOVA),
        level(0o727, gid=_NOVA),
        level(0o702),
    )
    def test_it_may_not(self, found):
        self.assertFalse(directories.may_write(found, _NOVA, _NOVA))
        self.assertTrue(directories.may_write(found, 0, 0))


@ddt.ddt
class TestPrepare(base.TestCase):
    def setUp(self):
        super().setUp()
        # as in the helper process
        self.addCleanup(os.umask, os.umask(0))
        self.state = self.directory / 'state'
        self.path = self.state / 'deltas'

    def prepare(self, mode=directories.PASSABLE):
        directories.prepare(str(self.path), 'delta_dir', mode)

    def mode(self, path):
        return stat.S_IMODE(path.stat().st_mode)

    def refused(self, *words):
        error = self.assertRaises(exception.UnsafeDirectory, self.prepare)
        for word in (str(self.path), *words):
            self.assertIn(word, str(error))

    @ddt.data(directories.PASSABLE, directories.PRIVATE)
    def test_a_new_one(self, mode):
        self.prepare(mode)
        self.assertEqual(mode, self.mode(self.path))
        self.assertEqual(0o711, self.mode(self.state))

    def test_the_rights_that_an_earlier_version_gave(self):
        below = self.path / 'received'
        below.mkdir(0o777, parents=True)
        file = below / 'note'
        file.write_text('x')
        file.chmod(0o666)
        self.state.chmod(0o755)
        self.path.chmod(0o777)
        self.prepare(directories.PRIVATE)
        self.assertEqual(0o700, self.mode(self.path))
        self.assertEqual(0o700, self.mode(below))
        self.assertEqual(0o600, self.mode(file))

    def test_a_file_that_goes_meanwhile(self):
        self.prepare()
        gone = self.path / 'gone'
        self.useFixture(
            fixtures.MockPatchObject(
                pathlib.Path, 'rglob', return_value=[gone]
            )
        )
        self.prepare()

    def test_no_right_is_added(self):
        self.path.mkdir(0o700, parents=True)
        self.state.chmod(0o755)
        self.prepare()
        self.assertEqual(0o700, self.mode(self.path))

    def test_a_link_below_keeps_what_it_points_to(self):
        target = self.directory / 'target'
        target.write_text('x')
        target.chmod(0o644)
        self.prepare()
        (self.path / 'link').symlink_to(target)
        self.prepare()
        self.assertEqual(0o644, self.mode(target))

    def test_a_link_in_its_place(self):
        self.state.mkdir(0o755)
        self.path.symlink_to(self.directory)
        self.refused('it is a symbolic link')

    def test_others_may_replace_it(self):
        self.state.mkdir()
        self.state.chmod(0o777)
        self.refused(f'chmod go-w {self.state}')
        self.assertFalse(self.path.exists())

    def test_a_link_above_it_leads_to_a_safe_place(self):
        place = self.directory / 'place'
        place.mkdir(0o755)
        self.state.symlink_to(place)
        self.prepare()
        self.assertEqual(0o711, self.mode(place / 'deltas'))

    def test_rights_of_others_that_stay(self):
        """As in a helper that may not change what another user owns."""
        self.prepare()
        self.path.chmod(0o777)

        def refuse(*_args):
            raise PermissionError

        self.useFixture(fixtures.MonkeyPatch('os.chmod', refuse))
        self.refused(f'chmod go-w {self.path}')

    def test_a_look_changes_nothing(self):
        self.path.mkdir(0o777, parents=True)
        self.path.chmod(0o777)
        place = directories.look(str(self.path))
        self.assertEqual(0o777, self.mode(self.path))
        assert place.itself is not None
        self.assertEqual(0o777, stat.S_IMODE(place.itself.mode))
        self.assertEqual(str(self.state), place.above[0].path)

    def test_a_look_at_one_that_is_not_there(self):
        place = directories.look(str(self.path))
        self.assertIsNone(place.itself)
        self.assertEqual(str(self.directory), place.above[0].path)
        self.assertFalse(self.state.exists())

    def test_a_stranger_owns_it(self):
        self.prepare()
        self.useFixture(fixtures.MonkeyPatch('os.geteuid', lambda: _NOVA))
        if self.path.stat().st_uid == 0:
            os.chown(self.path, _STRANGER, -1)
        self.refused('belongs to the user')

    def test_a_file_in_its_place(self):
        self.state.mkdir(0o755)
        self.path.write_text('x')
        self.refused()
