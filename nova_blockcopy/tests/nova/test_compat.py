# SPDX-License-Identifier: Apache-2.0
"""Nothing of Nova is used that ``compat`` does not name."""

import ast
import inspect
import pathlib

import ddt

from nova_blockcopy.nova import compat
from nova_blockcopy.nova import driver
from nova_blockcopy.tests.nova import base

PACKAGE = pathlib.Path(compat.__file__).parent
OTHERS = sorted(p for p in PACKAGE.glob('*.py') if p.stem != 'compat')
MIXINS = [
    kind
    for kind in driver.BlockCopyLibvirtDriver.__mro__
    if kind.__module__.startswith('nova_blockcopy.')
]
DRIVER = {
    *compat.METHODS['LibvirtDriver'],
    *compat.OPTIONAL_METHODS,
    *compat.ATTRIBUTES['LibvirtDriver'],
}
#: Nova's things by the names that they have in this package.
VARIABLES = {
    'manager': 'ComputeManager',
    '_manager': 'ComputeManager',
    'network_api': 'NetworkAPI',
    'instance': 'Instance',
    'migrate_data': 'LibvirtLiveMigrateData',
    'dest_check_data': 'LibvirtLiveMigrateData',
    '_rpc': 'ComputeAPI',
    '_record': 'Migration',
    '_guest': 'Guest',
}


def tree(path):
    return ast.parse(path.read_text())


def attributes(path):
    """All attributes that a module reads or sets."""
    return [
        node
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
    ]


def is_private(name):
    return name.startswith('_') and not name.endswith('__')


def named(kind):
    """All that ``compat`` names of one of Nova's classes."""
    tables = (compat.METHODS, compat.ATTRIBUTES, compat.FIELDS)
    return {name for table in tables for name in table.get(kind, ())}


def own(path):
    """The private names that a module gives to its own things."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == 'self'
        ):
            found.add(node.attr)
    return found


def own_of_mixins():
    """The names that the driver's mixins share and Nova's driver lacks."""
    found: set[str] = set()
    for kind in MIXINS:
        found.update(vars(kind), vars(kind).get('__annotations__', {}))
    return found - set(dir(compat.LibvirtDriver))


@ddt.ddt
class TestCompat(base.TestCase):
    @ddt.data(*OTHERS)
    def test_no_other_module_imports_nova(self, path):
        for node in ast.walk(tree(path)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or '']
            for name in names:
                self.assertNotEqual('nova', name.partition('.')[0], path.name)

    @ddt.data(*OTHERS)
    def test_no_other_private_name_of_nova_is_touched(self, path):
        allowed = {
            *own(path),
            *own_of_mixins(),
            *DRIVER,
            *named('ComputeManager'),
        }
        private = {
            node.attr for node in attributes(path) if is_private(node.attr)
        }
        self.assertEqual(set(), private - allowed, path.name)

    @ddt.data(*OTHERS)
    def test_what_nova_does_itself_is_named(self, path):
        """All that an override calls by ``super()``."""
        called = {
            node.attr
            for node in attributes(path)
            if isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id == 'super'
        }
        self.assertEqual(set(), called - DRIVER, path.name)

    @ddt.data(*MIXINS)
    def test_what_the_driver_uses_of_itself_is_named(self, kind):
        path = pathlib.Path(inspect.getfile(kind))
        used = {
            node.attr
            for node in attributes(path)
            if isinstance(node.value, ast.Name) and node.value.id == 'self'
        }
        self.assertEqual(set(), used - DRIVER - own_of_mixins() - own(path))

    def test_what_is_overridden_is_named(self):
        """Also by accident, with a name that is meant to be our own."""
        self.assertEqual(5, len(MIXINS))
        novas = {*dir(compat.LibvirtDriver), 'virtapi', '_host'}
        for kind in MIXINS:
            defined = {
                name
                for name in vars(kind)
                if not name.endswith('__') or name == '__init__'
            }
            self.assertEqual(set(), (defined & novas) - DRIVER)

    @ddt.data(*OTHERS)
    def test_what_is_used_of_novas_things_is_named(self, path):
        """Those that go by one name everywhere in this package."""
        for node in attributes(path):
            holder = node.value
            kind = None
            if isinstance(holder, ast.Name):
                kind = VARIABLES.get(holder.id)
            elif isinstance(holder, ast.Attribute):
                kind = VARIABLES.get(holder.attr)
            if kind is not None:
                self.assertIn(node.attr, named(kind), path.name)

    def test_nothing_is_named_twice(self):
        self.assertFalse(
            set(compat.METHODS['LibvirtDriver']) & set(compat.OPTIONAL_METHODS)
        )

    def test_there_is_something_to_look_at(self):
        """The guard against a test that passes because it sees nothing."""
        self.assertGreater(len(OTHERS), 15)
        calls = [node.attr for path in OTHERS for node in attributes(path)]
        for name in ('_live_migration_operation', '_lvm_disks', '_uri'):
            self.assertIn(name, calls)
