# SPDX-License-Identifier: Apache-2.0
"""A host on which all checks pass, until a test changes something."""

import dataclasses
import io
import json
import os
import pathlib
import shutil

import fixtures
from oslo_config import cfg
from oslo_privsep import priv_context
from oslo_upgradecheck import upgradecheck

from nova_blockcopy.cmd import account
from nova_blockcopy.cmd import novas
from nova_blockcopy.cmd import probe
from nova_blockcopy.cmd import status
from nova_blockcopy.host import mounts
from nova_blockcopy.host import qemu_conf
from nova_blockcopy.host import reach
from nova_blockcopy.host import scope
from nova_blockcopy.host import visibility
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes

SUCCESS, WARNING, FAILURE, BROKEN = 0, 1, 2, 255
OURS = 'blockcopy.BlockCopyLibvirtDriver'
STOCK = 'libvirt.LibvirtDriver'
_NOVA, _OTHER = 64060, 1000
_FILTERS = pathlib.Path(__file__).parents[4] / 'etc/nova/rootwrap.d'
#: The first of ten ports, which no other process of the tests uses.
PORT = 20000 + os.getpid() % 1000 * 10


class Connection(fakes.Connection):
    """The libvirt of the host."""

    #: The security models, and the user and group of QEMU.
    models: tuple[str, ...] = ('none', 'dac')
    user = '+0:+0'

    def close(self) -> None:
        pass

    def getCapabilities(self) -> str:
        found = ''.join(
            f'<secmodel><model>{each}</model><doi>0</doi>'
            f'<baselabel type="kvm">{self.user}</baselabel></secmodel>'
            for each in self.models
        )
        return f'<capabilities><host>{found}</host></capabilities>'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the command said: its exit code, and each check by its name."""

    code: int
    results: dict[str, int]
    details: dict[str, str]


class CommandTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.state = self.directory / 'state'
        self.state.mkdir(0o755)
        self.journals = self.state / 'blockcopy' / 'journal'
        self.deltas = self.state / 'blockcopy' / 'deltas'
        self.connection = Connection()
        self.stub('libvirt.open', lambda _uri: self.connection)
        self.stub('sys.stdout', io.StringIO())
        self.stub('sys.stderr', io.StringIO())
        # what main() sets for the whole process
        self.stub('oslo_upgradecheck.upgradecheck.CONF', upgradecheck.CONF)
        self.stub(
            'oslo_privsep.priv_context._HELPER_COMMAND_PREFIX',
            priv_context._HELPER_COMMAND_PREFIX,
        )
        self.boot()
        self.stub(f'{novas.__name__}.look', lambda: novas.Fit(version='34.1'))
        self.stub(f'{visibility.__name__}._current', lambda: 'all')
        self.stub(f'{reach.__name__}.fault', lambda _uri, _timeout: '')
        self.mount('ext4')
        self.set_up_rootwrap()
        self.qemu_conf = self.directory / 'qemu.conf'
        self.qemu_conf.write_text('#lock_manager = "lockd"\n')
        self.stub(f'{qemu_conf.__name__}.PATH', str(self.qemu_conf))
        self.home = self.directory / 'home'
        (self.home / '.nova').mkdir(parents=True)
        self.useFixture(fixtures.EnvironmentVariable('HOME', str(self.home)))

    def stub(self, name, value):
        self.useFixture(fixtures.MonkeyPatch(name, value))

    def boot(self, first='systemd'):
        """Have a program as the first process; systemd makes scopes."""
        self.program('systemd-run', 'exit 0')
        comm = self.directory / 'comm'
        comm.write_text(f'{first}\n')
        self.stub(f'{scope.__name__}._BOOTED', str(self.directory))
        self.stub(f'{scope.__name__}._FIRST', comm)

    def mount(self, kind):
        """Have all files on one file system of this kind."""
        found = mounts.Mount(id='1', device=1, point='/', type=kind)
        self.stub(f'{mounts.__name__}.of', lambda: [found])

    def set_up_rootwrap(self, filters='nova-blockcopy.filters'):
        """Configure nova-rootwrap, which knows this project's filter."""
        helper = self.program('privsep-helper', 'exit 1')
        known = self.directory / 'rootwrap.d'
        known.mkdir(exist_ok=True)
        shutil.copy(_FILTERS / filters, known)
        self.rootwrap = self.directory / 'rootwrap.conf'
        self.rootwrap.write_text(
            f'[DEFAULT]\nfilters_path={known}\nexec_dirs={helper.parent}\n'
        )

    def run_as(self, *, root: bool, name: str = 'nova'):
        """Be root or a stranger; nova-compute runs as another user."""
        found = account.Account(name=name, uid=_NOVA, gid=_NOVA, present=False)
        self.stub(f'{account.__name__}.of_nova_compute', lambda _path: found)
        self.stub('os.geteuid', lambda: 0 if root else _OTHER)
        self.stub(f'{probe.__name__}.fault', lambda _options, _account: '')

    def file(self, text='', *, driver=OURS, name='nova.conf'):
        """Write a configuration file; ``text`` begins in [DEFAULT]."""
        path = self.directory / name
        lines = [
            *('[DEFAULT]', f'state_path = {self.state}'),
            *([f'compute_driver = {driver}'] if driver else []),
            f'rootwrap_config = {self.rootwrap}',
            'instances_path = /proc',  # another file system
            *('[blockcopy]', 'allow_plaintext = true', 'delta_min_free = 0'),
            f'export_port_min = {PORT}',
            f'export_port_max = {PORT + 9}',
        ]
        path.write_text('\n'.join([*lines, text, '']))
        return path

    def driver_file(self, path, driver):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'[DEFAULT]\ncompute_driver = {driver}\n')
        return path

    def main(self, *argv) -> tuple[int, str]:
        """Run the command; return its exit code and all that it printed."""
        outs = [io.StringIO(), io.StringIO()]
        self.stub('sys.stdout', outs[0])
        self.stub('sys.stderr', outs[1])
        code = status.main([str(each) for each in argv], cfg.ConfigOpts())
        return code, ''.join(out.getvalue() for out in outs)

    def check(self, *files) -> Said:
        """Run all checks, with these configuration files."""
        named = [f'--config-file={each}' for each in files]
        code, text = self.main(*named, 'upgrade', 'check', '--json')
        checks = json.loads(text)['checks']
        return Said(
            code=code,
            results={each['check']: each['result'] for each in checks},
            details={each['check']: each['details'] or '' for each in checks},
        )

    def assert_said(self, said, check, result, *words):
        """One check has a result, and its details have the words."""
        self.assertEqual(result, said.results[check], said.details[check])
        for each in words:
            self.assertIn(str(each), said.details[check])
        if result:
            self.assertTrue(said.details[check].endswith('.'))

    def assert_only(self, said, check, result, *words):
        """One check has a result; all others pass."""
        self.assert_said(said, check, result, *words)
        self.assertEqual(result, said.code)
        others = {**said.results, check: SUCCESS}
        self.assertEqual({SUCCESS}, set(others.values()), said.details)

    def tree(self):
        """All that is in the directory of the test, with its rights."""
        return {
            str(path): (found.st_mode, found.st_uid, found.st_mtime_ns)
            for path in self.state.rglob('*')
            for found in (os.lstat(path),)
        }
