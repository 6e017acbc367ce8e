# SPDX-License-Identifier: Apache-2.0
"""How nova-compute finds the driver, wherever Nova and the plugin lie."""

import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile

import nova
import testtools

import nova_blockcopy
from nova_blockcopy.tests.unit import base

PROJECT = pathlib.Path(nova_blockcopy.__file__).parents[1]
NOVA = pathlib.Path(nova.__file__).parent
SITE = pathlib.Path(sysconfig.get_path('purelib'))
#: What a wheel is built from.
SOURCES = (
    *('nova', 'nova_blockcopy', 'etc', 'nova-blockcopy.pth'),
    *('LICENSE', 'README.rst', 'pyproject.toml', 'requirements.txt'),
    *('setup.cfg', 'setup.py'),
)
#: The line of nova.virt.driver.load_compute_driver, and what it gave.
LOAD = """
from oslo_utils import importutils
found = importutils.import_class(
    'nova.virt.%s' % 'blockcopy.BlockCopyLibvirtDriver'
)
import json
import nova.virt.blockcopy
import nova.virt.driver
import nova_blockcopy
print(json.dumps({
    'driver': issubclass(found, nova.virt.driver.ComputeDriver),
    'module': found.__module__,
    'nova': nova.__file__,
    'shim': nova.virt.blockcopy.__file__,
    'package': nova_blockcopy.__file__,
}))
"""
#: Without the site module nothing of this environment's .pth files runs.
BARE = ('-I', '-S', '-W', 'ignore')


def run(
    *arguments: str, cwd: pathlib.Path | str = '/'
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={
            **os.environ,
            'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1',
            'PYTHONDONTWRITEBYTECODE': '1',
        },
        capture_output=True,
        text=True,
        check=False,
    )


def build(target: pathlib.Path) -> pathlib.Path:
    """The wheel of what is here now, from a copy, which pbr writes to."""
    copy = target / 'source'
    copy.mkdir()
    for name in SOURCES:
        if (PROJECT / name).is_dir():
            shutil.copytree(
                PROJECT / name,
                copy / name,
                ignore=shutil.ignore_patterns('__pycache__'),
            )
        else:
            shutil.copy(PROJECT / name, copy / name)
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps'),
            *('--no-build-isolation', '--no-index'),
            *('--wheel-dir', str(target), str(copy)),
        ],
        env={
            **os.environ,
            'PBR_VERSION': importlib.metadata.version('nova-blockcopy'),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    (wheel,) = target.glob('*.whl')
    return wheel


def link_nova(target: pathlib.Path) -> None:
    """Nova's tree, in which two folders are real so that more can join."""
    for folder in (NOVA, NOVA / 'virt'):
        here = target / folder.relative_to(NOVA.parent)
        here.mkdir()
        for entry in folder.iterdir():
            if entry.name not in ('virt', 'blockcopy', '__pycache__') or (
                entry.is_file()
            ):
                (here / entry.name).symlink_to(entry)


class TestLoading(base.TestCase):
    wheel: pathlib.Path
    _target: str

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls._target = tempfile.mkdtemp()
        try:
            cls.wheel = build(pathlib.Path(cls._target))
        except BaseException:
            shutil.rmtree(cls._target)
            raise

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls._target)
        super().tearDownClass()

    def unpacked(self, target: pathlib.Path) -> pathlib.Path:
        target.mkdir(exist_ok=True)
        with zipfile.ZipFile(self.wheel) as wheel:
            wheel.extractall(target)
        return target

    def loaded(self, prologue: str) -> dict[str, str]:
        done = run(*BARE, '-c', prologue + LOAD)
        self.assertEqual('', done.stderr)
        return dict(json.loads(done.stdout))

    def test_what_is_in_the_wheel(self):
        with zipfile.ZipFile(self.wheel) as wheel:
            names = wheel.namelist()
        self.assertEqual(
            ['nova/virt/blockcopy/__init__.py'],
            [name for name in names if name.startswith('nova/')],
        )
        self.assertIn('nova-blockcopy.pth', names)
        self.assertIn('nova_blockcopy/nova/driver.py', names)
        self.assertIn('nova_blockcopy/nova/finder.py', names)
        self.assertIn('nova_blockcopy/py.typed', names)
        self.assertEqual([], [name for name in names if 'tests' in name])
        # Nova's own files stay as they are, whichever is installed first
        self.assertEqual(
            set(), {f'nova/{n}' for n in ('__init__.py',)} & set(names)
        )

    def test_in_one_directory_with_nova(self):
        site = self.directory / 'site'
        site.mkdir()
        link_nova(site)
        self.unpacked(site)
        (site / 'nova-blockcopy.pth').unlink()
        found = self.loaded(
            f'import sys; sys.path[:0] = [{str(site)!r}]; '
            f'sys.path.append({str(SITE)!r})\n'
        )
        self.assertEqual(
            {
                'driver': True,
                'module': 'nova_blockcopy.nova.driver',
                'nova': f'{site}/nova/__init__.py',
                'shim': f'{site}/nova/virt/blockcopy/__init__.py',
                'package': f'{site}/nova_blockcopy/__init__.py',
            },
            found,
        )

    def apart(self) -> tuple[pathlib.Path, str]:
        """Nova in one site directory, the plugin in another one."""
        novas = self.directory / 'novas'
        novas.mkdir()
        link_nova(novas)
        ours = self.unpacked(self.directory / 'ours')
        return ours, (
            f'import site, sys; sys.path[:0] = [{str(novas)!r}]; '
            f'sys.path.append({str(SITE)!r}); '
            f'site.addsitedir({str(ours)!r})\n'
        )

    def test_in_another_directory(self):
        ours, prologue = self.apart()
        self.assertEqual(
            {
                'driver': True,
                'module': 'nova_blockcopy.nova.driver',
                'nova': f'{self.directory}/novas/nova/__init__.py',
                'shim': f'{ours}/nova/virt/blockcopy/__init__.py',
                'package': f'{ours}/nova_blockcopy/__init__.py',
            },
            self.loaded(prologue),
        )

    def test_it_is_the_pth_file_that_does_it(self):
        ours, prologue = self.apart()
        (ours / 'nova-blockcopy.pth').unlink()
        done = run(*BARE, '-c', prologue + LOAD)
        self.assertNotEqual(0, done.returncode)
        self.assertIn("No module named 'nova.virt.blockcopy'", done.stderr)

    def test_nothing_else_of_nova_is_found_by_it(self):
        """A Nova that is not installed stays so."""
        ours = self.unpacked(self.directory / 'ours')
        done = run(
            *BARE,
            '-c',
            f'import site, sys; site.addsitedir({str(ours)!r})\n'
            f'assert "nova_blockcopy.nova.finder" in sys.modules\n'
            f'import nova.conf\n',
        )
        self.assertIn("No module named 'nova.conf'", done.stderr)

    def test_the_finder_imports_next_to_nothing(self):
        """It runs in every Python of the host, before all else."""
        ours = self.unpacked(self.directory / 'ours')
        code = (
            f'import os, sys; sys.path.append({str(ours)!r}); '
            f'sys.path.append({str(SITE)!r})\n'
            f'before = set(sys.modules)\n'
            f'import nova_blockcopy.nova.finder\n'
            f'print(*sorted(set(sys.modules) - before))'
        )
        done = run(*BARE, '-c', code)
        self.assertEqual('', done.stderr)
        self.assertEqual(
            [
                'nova_blockcopy',
                'nova_blockcopy.nova',
                'nova_blockcopy.nova.finder',
            ],
            done.stdout.split(),
        )

    def test_a_start_of_python_is_quiet_without_nova(self):
        ours = self.unpacked(self.directory / 'ours')
        done = run(*BARE, '-c', f'import site; site.addsitedir({str(ours)!r})')
        self.assertEqual(
            (0, '', ''), (done.returncode, done.stdout, done.stderr)
        )


class TestEditable(testtools.TestCase):
    """The installation that these tests run in."""

    def test_it_is_found(self):
        done = run('-I', '-W', 'ignore', '-c', LOAD)
        self.assertEqual('', done.stderr)
        found = json.loads(done.stdout)
        self.assertTrue(found['driver'])
        self.assertEqual(str(NOVA / '__init__.py'), found['nova'])
        self.assertEqual(nova_blockcopy.__file__, found['package'])
        self.assertEqual(
            PROJECT / 'nova/virt/blockcopy/__init__.py',
            pathlib.Path(found['shim']),
        )

    def test_nova_compute_makes_one(self):
        """By Nova's own function, which reports what is wrong and ends."""
        code = (
            'from nova import conf\n'
            'from nova.virt import driver, virtapi\n'
            'conf.CONF([], project="nova", default_config_files=[],\n'
            '          default_config_dirs=[])\n'
            'made = driver.load_compute_driver(\n'
            '    virtapi.VirtAPI(), "blockcopy.BlockCopyLibvirtDriver")\n'
            'print(type(made).__module__)\n'
            'print(conf.CONF.blockcopy.granularity)\n'
        )
        done = run('-I', '-W', 'ignore', '-c', code)
        self.assertEqual('', done.stderr)
        self.assertEqual(
            ['nova_blockcopy.nova.driver', '512'], done.stdout.split()
        )
