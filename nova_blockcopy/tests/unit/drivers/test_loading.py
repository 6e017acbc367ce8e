# SPDX-License-Identifier: Apache-2.0
"""Drivers by their name."""

import importlib.metadata

import fixtures
import libvirt

from nova_blockcopy import drivers
from nova_blockcopy import exception
from nova_blockcopy.drivers import libvirt_api
from nova_blockcopy.drivers import virsh
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples


def connect() -> libvirt.virConnect:
    raise AssertionError('no driver may connect before it is used')


class TestLoad(base.TestCase):
    def load(self, name):
        settings = samples.settings(self.directory, driver=name)
        return drivers.load(settings, connect)

    def unknown(self, name):
        return str(self.assertRaises(exception.UnknownDriver, self.load, name))

    def install(self, **points):
        """Have these entry points in place of the ones there are."""
        found = [
            importlib.metadata.EntryPoint(name, value, drivers.NAMESPACE)
            for name, value in points.items()
        ]
        self.useFixture(
            fixtures.MonkeyPatch(
                'stevedore.extension.ExtensionManager.ENTRY_POINT_CACHE',
                {drivers.NAMESPACE: found},
            )
        )

    def test_both_drivers(self):
        for name, kind in (
            ('libvirt', libvirt_api.LibvirtCopyDriver),
            ('virsh', virsh.VirshCopyDriver),
        ):
            self.assertIsInstance(self.load(name), kind)
        self.assertLessEqual({'libvirt', 'virsh'}, set(drivers.installed()))

    def test_an_unknown_one_lists_those_there_are(self):
        said = self.unknown('tape')
        self.assertIn('"tape"', said)
        self.assertIn(', '.join(drivers.installed()), said)

    def test_none_is_there(self):
        self.install()
        self.assertIn('installed drivers: none', self.unknown('libvirt'))

    def test_one_that_cannot_be_imported(self):
        self.install(broken='no_such_module:Driver')
        said = self.unknown('broken')
        self.assertIn('no_such_module', said)
        self.assertIn('installed drivers: broken', said)

    def test_one_that_is_no_driver(self):
        self.install(odd='builtins:str')
        self.assertIn('not a subclass of CopyDriver', self.unknown('odd'))

    def test_anybody_can_install_one(self):
        self.install(mine='nova_blockcopy.drivers.virsh:VirshCopyDriver')
        self.assertEqual(['mine'], drivers.installed())
        self.assertIsInstance(self.load('mine'), virsh.VirshCopyDriver)
