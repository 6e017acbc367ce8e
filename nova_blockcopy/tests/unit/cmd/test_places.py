# SPDX-License-Identifier: Apache-2.0
"""The directories of the engine, which the command only looks at."""

import errno
import os

import ddt

from nova_blockcopy.tests.unit.cmd import base

_JOURNAL, _DELTA = 'Journal directory', 'Delta directory'


@ddt.ddt
class TestBoth(base.CommandTestCase):
    def setUp(self):
        super().setUp()
        self.paths = {_JOURNAL: self.journals, _DELTA: self.deltas}
        self.severity = {_JOURNAL: base.FAILURE, _DELTA: base.WARNING}

    def make(self, check, mode=0o700):
        path = self.paths[check]
        path.parent.mkdir(0o711)
        path.mkdir()
        path.chmod(mode)
        return path

    @ddt.data(_JOURNAL, _DELTA)
    def test_one_that_is_not_there(self, check):
        said = self.check(self.file())
        self.assert_said(
            said, check, base.SUCCESS, f'will make {self.paths[check]}'
        )

    @ddt.data(_JOURNAL, _DELTA)
    def test_one_that_is_there(self, check):
        self.make(check)
        said = self.check(self.file())
        self.assertEqual((0, ''), (said.code, said.details[check]))

    @ddt.data((_JOURNAL, 0o755, '0700'), (_DELTA, 0o777, '0711'))
    @ddt.unpack
    def test_others_have_rights(self, check, mode, wanted):
        path = self.make(check, mode)
        said = self.check(self.file())
        self.assert_said(said, check, base.WARNING, path)
        if os.getuid() == 0:
            self.assertIn(f'chmod {wanted} {path}', said.details[check])

    @ddt.data(_JOURNAL, _DELTA)
    def test_others_may_replace_it(self, check):
        self.make(check)
        self.state.chmod(0o777)
        self.assert_said(
            self.check(self.file()),
            *(check, self.severity[check], f'chmod go-w {self.state}'),
        )

    @ddt.data(_JOURNAL, _DELTA)
    def test_a_link(self, check):
        self.make(check).rmdir()
        self.paths[check].symlink_to(self.directory)
        self.assert_said(
            self.check(self.file()),
            *(check, self.severity[check], 'symbolic link'),
        )

    @ddt.data(_JOURNAL, _DELTA)
    def test_a_file_in_its_place(self, check):
        self.make(check).rmdir()
        self.paths[check].write_text('x')
        self.assert_said(
            self.check(self.file()),
            *(check, self.severity[check], 'Not a directory'),
        )

    @ddt.data(_JOURNAL, _DELTA)
    def test_a_file_above_it(self, check):
        (self.state / 'blockcopy').write_text('x')
        said = self.check(self.file())
        self.assert_said(said, check, self.severity[check], 'Not a directory')

    @ddt.data(_JOURNAL, _DELTA)
    def test_a_stranger_cannot_tell(self, check):
        self.run_as(root=False)
        self.assert_said(
            self.check(self.file()),
            *(check, base.WARNING, 'not checked', 'as root or', 'user nova'),
        )

    @ddt.data(_JOURNAL, _DELTA)
    def test_it_cannot_be_seen(self, check):
        real = os.lstat

        def lstat(path, **options):
            if 'blockcopy' in str(path):
                raise PermissionError(errno.EACCES, 'Permission denied', path)
            return real(path, **options)

        self.stub('os.lstat', lstat)
        self.assert_said(
            self.check(self.file()),
            *(check, base.WARNING, 'Permission denied', 'as root'),
        )


class TestJournalDir(base.CommandTestCase):
    def test_nova_compute_may_not_write(self):
        self.run_as(root=True)
        said = self.check(self.file())
        self.assert_said(said, _JOURNAL, base.FAILURE, 'owner', self.state)

    def test_the_option(self):
        path = self.directory / 'elsewhere'
        said = self.check(self.file(f'journal_dir = {path}'))
        self.assert_said(said, _JOURNAL, base.SUCCESS, path)


class TestDeltaDir(base.CommandTestCase):
    def test_too_little_is_free(self):
        self.assert_only(
            self.check(self.file(f'delta_min_free = {2**40}')),
            *(_DELTA, base.WARNING, 'MiB are free', 'direct mode'),
        )

    def test_there_is_no_direct_io(self):
        real = os.open

        def refusing(path, flags, *more, **options):
            if flags & os.O_DIRECT:
                raise OSError(errno.EINVAL, 'Invalid argument')
            return real(path, flags, *more, **options)

        self.stub('os.open', refusing)
        self.assert_only(
            self.check(self.file()),
            *(_DELTA, base.FAILURE, 'direct I/O', 'seeded mode'),
        )
