# SPDX-License-Identifier: Apache-2.0
"""Imports go down only; the lowest layer needs neither libvirt nor Nova."""

import ast
import pathlib
import statistics
import subprocess
import sys

import ddt

import nova_blockcopy
from nova_blockcopy.tests.unit import base

PACKAGE = pathlib.Path(nova_blockcopy.__file__).parent
#: From the lowest to the highest; '' are the modules of the package itself.
LAYERS = (
    *(
        '',
        'conf',
        'runtime',
        'records',
        'metrics',
        'host',
        'drivers',
        'copies',
        'migration',
    ),
    *('migration.source', 'migration.destination', 'nova', 'cmd', 'cli'),
)
#: They run on different hosts, and know each other by messages only.
WINGS = {'migration.source', 'migration.destination'}
ENGINE = LAYERS[: LAYERS.index('nova')]
#: Modules of others with which a module of the package itself stays pure: no
#: file, process, thread, clock or connection is reached through them.
PURE = {
    *('cattrs', 'collections', 'copy', 'dataclasses', 'enum', 'functools'),
    *('inspect', 'ipaddress', 'itertools', 'json', 'lxml', 'math'),
    *('oslo_config', 're', 'typing'),
}
#: Runs in a fresh interpreter: imports the modules that are its arguments.
_IMPORT = """
import importlib, sys
blocked = set(sys.argv[1].split(',')) - {''}
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in blocked:
            raise ImportError(f'{name} is blocked')
sys.meta_path.insert(0, Guard())
for name in sys.argv[2:]:
    importlib.import_module(name)
print(*sorted({name.partition('.')[0] for name in sys.modules}))
"""


def files(layer):
    return sorted((PACKAGE / layer.replace('.', '/')).glob('*.py'))


def module(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    return '.'.join(part for part in parts if part != '__init__')


def imports(path):
    """All that a file imports, by full name, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module(path).split('.')
            if path.name != '__init__.py':
                above = above[:-1]
            start = above[: len(above) - node.level + 1] if node.level else []
            name = '.'.join([*start, *filter(None, [node.module])])
            yield from (f'{name}.{alias.name}' for alias in node.names)


def layer_of(name):
    """Which layer of ours a full name is in; None if it is not ours."""
    first, _dot, rest = name.partition('.')
    if first != 'nova_blockcopy':
        return None
    parts = rest.split('.')
    while parts and not (PACKAGE / '/'.join(parts)).is_dir():
        parts.pop()
    return '.'.join(parts)


def allowed(layer):
    """The layers that one may import from."""
    lower = set(LAYERS[: LAYERS.index(layer) + 1])
    return lower - (WINGS - {layer} if layer in WINGS else set())


@ddt.ddt
class TestLayers(base.TestCase):
    def test_no_folder_is_left_out(self):
        folders = {
            '.'.join(path.parent.relative_to(PACKAGE).parts)
            for path in PACKAGE.rglob('*.py')
            if path.relative_to(PACKAGE).parts[0] != 'tests'
        }
        self.assertEqual(set(LAYERS), folders)

    @ddt.data(*LAYERS)
    def test_imports_go_down_only(self, layer):
        for path in files(layer):
            for name in imports(path):
                found = layer_of(name)
                if found is not None:
                    where = f'{module(path)}: {name}'
                    self.assertIn(found, allowed(layer), where)

    def test_the_wings_are_apart(self):
        for wing in WINGS:
            self.assertEqual({wing}, allowed(wing) & WINGS)
        self.assertLessEqual(WINGS, allowed('nova'))

    @ddt.data(*files(''), *files('conf'))
    def test_the_lowest_layers_are_pure(self, path):
        foreign = {
            name.partition('.')[0]
            for name in imports(path)
            if layer_of(name) is None
        }
        self.assertEqual(set(), foreign - PURE)

    @ddt.data(*ENGINE, 'cmd', 'cli')
    def test_only_one_layer_knows_nova(self, layer):
        for path in files(layer):
            for name in imports(path):
                self.assertNotEqual(
                    'nova', name.partition('.')[0], module(path)
                )

    @ddt.data(*LAYERS)
    def test_threads_are_the_only_concurrency(self, layer):
        for path in files(layer):
            for name in imports(path):
                self.assertNotIn(
                    name.partition('.')[0],
                    ('eventlet', 'asyncio'),
                    module(path),
                )

    def test_relative_imports_are_seen_too(self):
        path = PACKAGE / 'host' / '__init__.py'
        self.assertEqual('nova_blockcopy.host', module(path))
        self.assertEqual(
            ['', 'host', 'migration', 'migration.source', None],
            [
                layer_of(name)
                for name in (
                    'nova_blockcopy.plan',
                    'nova_blockcopy.host.images',
                    'nova_blockcopy.migration',
                    'nova_blockcopy.migration.source.steps.Step',
                    'libvirt',
                )
            ],
        )


class TestImporting(base.TestCase):
    def imported(self, blocked, *layers):
        names = [module(path) for layer in layers for path in files(layer)]
        done = subprocess.run(
            [sys.executable, '-c', _IMPORT, ','.join(blocked), *names],
            capture_output=True,
            text=True,
            cwd=PACKAGE.parent,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        return set(done.stdout.split())

    def test_the_lowest_layer_stands_alone(self):
        found = self.imported(('libvirt', 'nova', 'eventlet'), '', 'conf')
        self.assertIn('nova_blockcopy', found)
        self.assertEqual(set(), found & {'libvirt', 'nova', 'eventlet'})

    def test_the_guard_does_block(self):
        self.assertRaises(
            AssertionError, self.imported, ('libvirt',), '', 'host'
        )

    def test_nothing_needs_eventlet(self):
        """oslo.privsep has it imported where it is installed."""
        found = self.imported(('eventlet',), *ENGINE, 'cmd', 'cli')
        self.assertIn('libvirt', found)
        self.assertNotIn('eventlet', found)


@ddt.ddt
class TestSizes(base.TestCase):
    """Modules of one noun, functions that fit on a screen."""

    MODULE, MEDIAN, FUNCTION = 400, 150, 45

    def test_modules_are_short(self):
        lengths = {
            module(path): len(path.read_text().splitlines())
            for layer in LAYERS
            for path in files(layer)
        }
        # a catalogue has no parts to take out
        del lengths['nova_blockcopy.exception']
        long = {name: n for name, n in lengths.items() if n > self.MODULE}
        self.assertEqual({}, long)
        self.assertLessEqual(statistics.median(lengths.values()), self.MEDIAN)

    @ddt.data(*LAYERS)
    def test_functions_are_short(self, layer):
        found = {
            f'{module(path)}.{node.name}': (node.end_lineno or 0)
            - node.lineno
            + 1
            for path in files(layer)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        long = {name: n for name, n in found.items() if n > self.FUNCTION}
        self.assertEqual({}, long)
