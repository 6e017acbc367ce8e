# SPDX-License-Identifier: Apache-2.0
"""The check that this Nova has what is used of it, and the look-ups."""

import importlib.metadata
from typing import Any
from unittest import mock

import ddt
from nova import objects
from nova.compute import manager

from nova_blockcopy.nova import compat
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import samples


@ddt.ddt
class TestCheck(base.TestCase):
    def refused(self, changed: Any) -> str:
        with mock.patch.object(compat, 'LibvirtDriver', new=changed):
            return str(self.assertRaises(ImportError, compat.check))

    def test_it_fits_the_nova_that_is_installed(self):
        compat.check()

    def changed(self, **attributes: Any) -> Any:
        """A driver of a Nova in which these are other ones."""
        return type('Changed', (compat.LibvirtDriver,), attributes)

    def test_a_method_that_is_gone(self):
        said = self.refused(self.changed(_live_migration_operation=None))
        self.assertIn('_live_migration_operation(context, instance', said)
        self.assertIn(f'Nova {importlib.metadata.version("nova")}', said)
        self.assertIn('compute_driver = libvirt.LibvirtDriver', said)

    def test_a_parameter_that_has_another_name(self):
        said = self.refused(
            self.changed(suspend=lambda self, context, server: None)
        )
        self.assertIn('suspend(context, instance)', said)
        self.assertNotIn('rescue', said)

    def test_parameters_in_another_order(self):
        said = self.refused(
            self.changed(
                _create_guest=lambda self, context, instance, xml: None
            )
        )
        self.assertIn('_create_guest(', said)

    def test_a_parameter_that_is_gone(self):
        said = self.refused(self.changed(suspend=lambda self, context: None))
        self.assertIn('suspend(context, instance)', said)

    def test_parameters_that_are_added_do_not_matter(self):
        changed = self.changed(
            suspend=lambda self, context, instance, more=None: None
        )
        with mock.patch.object(compat, 'LibvirtDriver', new=changed):
            compat.check()

    def test_each_thing_that_lacks_is_named(self):
        said = self.refused(self.changed(suspend=None, _uri=None))
        self.assertIn('suspend(context, instance)', said)
        self.assertIn('_uri()', said)

    def test_a_driver_is_not_made_for_a_nova_that_does_not_fit(self):
        changed = self.changed(snapshot=None)
        with mock.patch.object(compat, 'LibvirtDriver', new=changed):
            self.assertRaises(ImportError, self.make_driver)

    @ddt.data(*sorted(compat._DRIVER_METHODS))
    def test_what_is_relied_on_is_checked(self, name):
        said = self.refused(self.changed(**{name: None}))
        self.assertIn(f'{name}(', said)

    @ddt.data(
        'MigrationPreCheckError',
        'MigrationError',
        'HypervisorUnavailable',
        'InstancePowerOffFailure',
        'InstanceFaultRollback',
        'DestinationDiskExists',
    )
    def test_errors_are_of_the_module_that_crosses_rpc(self, name):
        kind = getattr(compat, name)
        self.assertEqual('nova.exception', kind.__module__)
        self.assertTrue(issubclass(kind, Exception))

    def test_what_a_host_without_us_can_be_asked(self):
        question = compat.ComputeAPI.check_instance_shared_storage
        mock.create_autospec(question)(None, 'context', {}, host=base.THERE)


class TestLookUps(base.TestCase):
    def test_data_of_a_live_migration_made_again(self):
        known = objects.Migration(
            id=7, status='running', instance_uuid=samples.UUID
        )
        data = base.travelled(compat.migrate_data(known))
        self.assertEqual(7, data.migration.id)
        # both the instance's directory and its disks are to be removed
        # where it is not
        flags = manager.ComputeManager._live_migration_cleanup_flags
        self.assertEqual(
            (True, True),
            flags(mock.create_autospec(manager.ComputeManager), data),
        )
