# SPDX-License-Identifier: Apache-2.0
"""The check that the Nova on this host offers what is used of it."""

import importlib.metadata
from typing import Any
from unittest import mock

import ddt

from nova_blockcopy.nova import compat
from nova_blockcopy.nova import contract
from nova_blockcopy.tests.nova import base


@ddt.ddt
class TestCheck(base.TestCase):
    def refused(self, changed: Any) -> str:
        with mock.patch.object(compat, 'LibvirtDriver', new=changed):
            return str(self.assertRaises(ImportError, contract.check))

    def test_it_fits_the_nova_that_is_installed(self):
        contract.check()

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
            contract.check()

    def test_each_thing_that_lacks_is_named(self):
        said = self.refused(self.changed(suspend=None, _uri=None))
        self.assertIn('suspend(context, instance)', said)
        self.assertIn('_uri()', said)

    def test_a_driver_is_not_made_for_a_nova_that_does_not_fit(self):
        changed = self.changed(snapshot=None)
        with mock.patch.object(compat, 'LibvirtDriver', new=changed):
            self.assertRaises(ImportError, self.make_driver)

    @ddt.data(*sorted(compat.METHODS['LibvirtDriver']))
    def test_what_is_relied_on_is_checked(self, name):
        said = self.refused(self.changed(**{name: None}))
        self.assertIn(f'{name}(', said)

    @ddt.data(*sorted(set(compat.METHODS) - {'LibvirtDriver'}))
    def test_a_method_of_another_class(self, kind):
        for name in compat.METHODS[kind]:
            changed = type('Changed', (getattr(compat, kind),), {name: None})
            with mock.patch.object(compat, kind, new=changed):
                said = self.refused(compat.LibvirtDriver)
            self.assertIn(f'There is no {kind}.{name}(', said)

    @ddt.data(*sorted({*compat.METHODS, *compat.FIELDS} - {'LibvirtDriver'}))
    def test_a_class_that_is_gone(self, kind):
        with mock.patch.object(compat, kind, new=None):
            self.assertIn(kind, self.refused(compat.LibvirtDriver))

    @ddt.data(*sorted(compat.FUNCTIONS))
    def test_a_function(self, name):
        with mock.patch.object(compat, name, new=None):
            said = self.refused(compat.LibvirtDriver)
        self.assertIn(f'There is no {name}(', said)
        with mock.patch.object(compat, name, new=lambda other: None):
            said = self.refused(compat.LibvirtDriver)
        self.assertIn(f'There is {name}(other) in place of {name}(', said)

    @ddt.data(*sorted(compat.FIELDS))
    def test_a_field(self, kind):
        changed = type('Changed', (getattr(compat, kind),), {'fields': {}})
        with mock.patch.object(compat, kind, new=changed):
            said = self.refused(compat.LibvirtDriver)
        for name in compat.FIELDS[kind]:
            self.assertIn(f'The object {kind} has no field {name}.', said)

    @ddt.data(*sorted(compat.ATTRIBUTES))
    def test_an_attribute(self, kind):
        with mock.patch.dict(compat.ATTRIBUTES, {kind: ('_no_such',)}):
            said = self.refused(compat.LibvirtDriver)
        self.assertIn(f'{kind} has no attribute _no_such.', said)

    @ddt.data(*sorted(compat.ERRORS))
    def test_an_error(self, name):
        """Nova's RPC carries classes of that one module only."""
        changed = type('Changed', (getattr(compat, name),), {})
        for new in (None, changed):
            with mock.patch.object(compat, name, new=new):
                said = self.refused(compat.LibvirtDriver)
            self.assertIn(f'nova.exception has no {name}.', said)

    def test_an_error_with_another_message(self):
        with mock.patch.object(compat.MigrationError, 'msg_fmt', new='No.'):
            said = self.refused(compat.LibvirtDriver)
        self.assertIn('The message of MigrationError takes no reason.', said)

    @ddt.data(*compat.CONSTANTS)
    def test_a_constant(self, name):
        with mock.patch.object(compat, name, new=None):
            said = self.refused(compat.LibvirtDriver)
        self.assertIn(f'nova.compute.task_states has no {name}.', said)

    @ddt.data(('', 'DEFAULT'), ('libvirt', 'libvirt'))
    @ddt.unpack
    def test_an_option(self, group, section):
        with mock.patch.dict(compat.OPTIONS, {group: ('no_such',)}):
            said = self.refused(compat.LibvirtDriver)
        self.assertIn(f'There is no option [{section}] no_such.', said)

    def test_a_method_that_only_some_releases_have(self):
        name = 'process_instances_at_startup'
        self.refused(self.changed(**{name: lambda self, context: None}))
        with mock.patch.object(
            compat, 'LibvirtDriver', new=self.changed(**{name: None})
        ):
            contract.check()

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
