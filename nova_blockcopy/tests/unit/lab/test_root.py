# SPDX-License-Identifier: Apache-2.0
"""Roots of other releases: whole or not there, and Python stays in sight."""

from unittest import mock

import ddt
import fixtures

from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab
from nova_blockcopy.tests.lab import root
from nova_blockcopy.tests.unit import base


@ddt.ddt
class TestKept(base.TestCase):
    @ddt.data(
        ([], []),
        # a virtual environment and an interpreter elsewhere are not hidden
        (['/srv/venv', '/opt/python/lib', '/usrlocal', ''], []),
        # a distribution's own Python
        (
            ['/usr', '/usr/lib/python3.11', '/usr/lib/python3/dist-packages'],
            ['/usr/lib/python3.11', '/usr/lib/python3/dist-packages'],
        ),
        (['/usr/local', '/usr/local/lib/py'], ['/usr/local/lib/py']),
        (
            ['/usr/lib/py/lib-dynload', '/usr/lib/py/', '/usr/lib/py'],
            ['/usr/lib/py'],
        ),
        (['/etc/python3.11'], ['/etc/python3.11']),
    )
    @ddt.unpack
    def test_what_a_root_would_hide(self, paths, wanted):
        self.assertEqual(sorted(wanted), root.kept(paths))


@ddt.ddt
class TestChosen(base.TestCase):
    @ddt.data(None, '')
    def test_the_machine_itself(self, value):
        self.useFixture(fixtures.EnvironmentVariable(root.VARIABLE, value))
        self.assertIsNone(root.chosen())

    def test_what_a_root_lacks_is_named(self):
        name = str(self.directory)
        self.useFixture(fixtures.EnvironmentVariable(root.VARIABLE, name))
        self.assertEqual(self.directory, root.chosen())
        programs = self.directory / 'usr' / 'bin'
        programs.mkdir(parents=True)
        (programs / 'virsh').touch(0o755)
        with mock.patch('os.geteuid', autospec=True, return_value=0):
            lacking = lab.missing()
        (about,) = [line for line in lacking if name in line]
        self.assertIn('libvirtd', about)
        self.assertNotIn('virsh', about)


class TestMake(base.TestCase):
    def setUp(self):
        super().setUp()
        roots = self.directory / 'roots'
        self.useFixture(fixtures.MockPatchObject(root, 'ROOTS', roots))
        self.filled = self.useFixture(
            fixtures.MockPatchObject(root, '_fill', side_effect=self.fill)
        ).mock

    def fill(self, _release, path, _packages=()):
        (path / 'etc').mkdir(parents=True)

    def test_a_whole_one_is_left_as_it_is(self):
        made = root.make('trixie')
        (made / 'mark').touch()
        self.assertEqual(made, root.make('trixie'))
        self.assertTrue((made / 'mark').exists())
        self.assertEqual(1, self.filled.call_count)

    def test_one_with_other_packages_is_made_anew(self):
        made = root.make('trixie')
        (made / 'mark').touch()
        with mock.patch.object(root, '_PACKAGES', ('one', 'other')):
            root.make('trixie')
        self.assertFalse((made / 'mark').exists())

    def test_half_a_root_is_none(self):
        def fail(release, path, _packages):
            self.fill(release, path)
            raise host.LabError('no')

        self.filled.side_effect = fail
        self.assertRaises(host.LabError, root.make, 'trixie')
        self.assertEqual([], list(root.ROOTS.iterdir()))

    def test_what_was_killed_is_no_hindrance(self):
        self.fill('trixie', root.ROOTS / '.trixie-1')
        self.fill('trixie', root.ROOTS / 'trixie')
        self.assertEqual(root.ROOTS / 'trixie', root.make('trixie'))
        self.assertEqual([root.ROOTS / 'trixie'], list(root.ROOTS.iterdir()))
        self.assertEqual(1, self.filled.call_count)
