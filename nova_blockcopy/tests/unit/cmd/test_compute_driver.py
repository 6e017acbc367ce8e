# SPDX-License-Identifier: Apache-2.0
"""The compute driver that nova-compute loads, by the order of its files."""

import fixtures

from nova_blockcopy.tests.unit.cmd import base

_CHECK = 'Compute driver'


class TestNamedFiles(base.CommandTestCase):
    def test_the_later_file_wins(self):
        first = self.file(driver=base.STOCK)
        later = self.driver_file(self.directory / 'later.conf', base.OURS)
        said = self.check(first, later)
        self.assert_said(said, _CHECK, base.SUCCESS)
        said = self.check(later, first)
        self.assert_only(
            said, _CHECK, base.FAILURE, f'"{base.STOCK}"', f'{first} has'
        )
        self.assertIn(
            f'Set compute_driver = {base.OURS} in {first},',
            said.details[_CHECK],
        )

    def test_no_file_sets_it(self):
        path = self.file(driver=None)
        self.assert_only(
            self.check(path),
            *(_CHECK, base.FAILURE, 'No file sets', f'in {path},'),
        )

    def test_a_variable_of_the_environment_wins(self):
        self.useFixture(
            fixtures.EnvironmentVariable(
                'OS_DEFAULT__COMPUTE_DRIVER', base.STOCK
            )
        )
        self.assert_only(
            self.check(self.file()),
            *(_CHECK, base.FAILURE, 'OS_DEFAULT__COMPUTE_DRIVER has the last'),
        )


class TestFoundFiles(base.CommandTestCase):
    """Without --config-file, in the places where oslo.config looks."""

    def setUp(self):
        super().setUp()
        self.folder = self.home / '.nova'
        self.file(name=self.folder / 'nova.conf')

    def test_nova_conf_alone(self):
        self.assert_said(self.check(), _CHECK, base.SUCCESS)

    def test_nova_compute_conf_has_the_last_word(self):
        """As in the packages of Debian and Ubuntu."""
        path = self.folder / 'nova-compute.conf'
        self.driver_file(path, base.STOCK)
        self.assert_only(
            self.check(), _CHECK, base.FAILURE, f'{path} has the last word'
        )
        self.driver_file(path, base.OURS)
        self.assert_said(self.check(), _CHECK, base.SUCCESS)

    def test_a_directory_wins_unless_the_files_are_named(self):
        compute = self.folder / 'nova-compute.conf'
        self.driver_file(compute, base.STOCK)
        self.driver_file(self.folder / 'nova.conf.d' / 'a.conf', base.OURS)
        self.assert_only(
            self.check(),
            *(_CHECK, base.WARNING, 'by --config-file', f'in {compute},'),
        )

    def test_a_directory_loses_if_the_files_are_named(self):
        path = self.folder / 'nova-compute.conf.d' / 'a.conf'
        self.driver_file(path, base.STOCK)
        self.assert_only(
            self.check(),
            *(_CHECK, base.WARNING, 'without --config-file', f'in {path},'),
        )

    def test_both_orders_are_wrong(self):
        self.driver_file(self.folder / 'nova-compute.conf', base.STOCK)
        self.driver_file(
            self.folder / 'nova.conf.d' / 'a.conf', 'fake.FakeDriver'
        )
        self.assert_said(self.check(), _CHECK, base.FAILURE, 'fake.FakeDriver')

    def test_there_is_no_file(self):
        (self.folder / 'nova.conf').unlink()
        said = self.check()
        self.assert_said(
            said,
            *(_CHECK, base.WARNING, 'No configuration file', '--config-file'),
        )
        del said.results['Nova']  # needs no file
        self.assertEqual({base.WARNING}, set(said.results.values()))
