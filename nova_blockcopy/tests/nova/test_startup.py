# SPDX-License-Identifier: Apache-2.0
"""nova-compute ends at its start with one sentence about a bad option."""

import os
import pathlib
import subprocess
import sys

import fixtures
import testtools

from nova_blockcopy.nova import startup

#: What nova-compute does from its first line to the start of its driver
#: (nova/cmd/compute.py, ComputeManager.__init__ and init_host), without a
#: message bus and a conductor: once for each USER:FILE. Nova takes seconds to
#: import, so each start is a fork.
_START = """
import os, sys
from nova import monkey_patch
if hasattr(monkey_patch, 'patch'):  # Nova 31 patches at the import
    monkey_patch.patch()
from oslo_log import log as logging
from oslo_privsep import priv_context
import nova.conf
from nova import config, objects, utils
from nova.virt import driver, virtapi
from nova.virt.libvirt import driver as stock
# comes next, and needs a libvirt
stock.LibvirtDriver.init_host = lambda self, host: sys.exit(0)

def start(user, file):
    os.geteuid = lambda: user
    config.parse_args(['nova-compute', f'--config-file={file}'])
    logging.setup(nova.conf.CONF, 'nova')
    priv_context.init(root_helper=utils.get_root_helper().split())
    objects.register_all()
    found = driver.load_compute_driver(virtapi.VirtAPI())
    found.init_host(nova.conf.CONF.host)

for each in sys.argv[1:]:
    if os.fork() == 0:
        user, _colon, file = each.partition(':')
        start(int(user), file)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""
_CONFIGURED = """
[DEFAULT]
compute_driver = blockcopy.BlockCopyLibvirtDriver
host = host-a
state_path = {state}
instances_path = {state}/instances
log_file = {log}
[libvirt]
virt_type = qemu
[blockcopy]
allow_plaintext = true
"""
_ROOT, _NOVA = 0, 64060
_OURS = startup.__name__


_CASES = (
    ('driver = tape', '"tape"', 'libvirt, virsh', '[blockcopy] driver'),
    ('granularity = 1000', '[blockcopy] granularity: 1000 is not a power of'),
    ('mode = magic', '[blockcopy] mode', 'magic'),
    ('stall_timeout = soon', '[blockcopy] stall_timeout', 'soon'),
    ('journal_dir = journals', '[blockcopy] journal_dir', 'absolute'),
    ('export_address = 0.0.0.0', '[blockcopy] export_address', 'one address'),
    ('export_tls_dir = pki', '[blockcopy] export_tls_dir', 'absolute'),
    (
        'export_tls = true\nexport_tls_dir = /nowhere',
        *('[blockcopy] export_tls_dir', '/nowhere: No such file'),
    ),
    (
        'export_tls = true\nexport_tls_dir = /etc/hostname',
        *('[blockcopy] export_tls_dir', 'Not a directory'),
    ),
    ('export_port_min = 50000', 'export_port_max or less'),
    (
        'journal_dir = /srv/moves\ndelta_dir = /srv/moves/deltas',
        *('[blockcopy] delta_dir', 'a directory of its own'),
    ),
    ('poll_interval = 30\nstall_timeout = 20', '[blockcopy] poll_interval'),
    ('[libvirt]\nblock_migration_bandwidth = -1', 'bandwidth: ', '-1'),
    (
        'journal_dir = /etc/hostname/journal',
        *('([blockcopy] journal_dir)', 'Not a directory'),
    ),
    (
        '[nova_blockcopy_sys_admin]\nhelper_command = /nowhere/sudo',
        *('privsep helper', '[nova_blockcopy_sys_admin]', '/nowhere/sudo'),
    ),
    (
        '[nova_blockcopy_sys_admin]\nhelper_command = false',
        *('Check sudoers and the filters of nova-rootwrap',),
    ),
)


class TestStart(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.logs = []
        self.state = self.directory / 'state'
        self.state.mkdir(0o755)

    def start(self, *cases):
        """Start nova-compute with each configuration.

        :returns: the exit code and the log of each start
        """
        named = [
            self._written(number, each) for number, each in enumerate(cases)
        ]
        done = subprocess.run(
            [sys.executable, '-c', _START, *named],
            env={**os.environ, 'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1'},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        self.assertNotIn('Traceback', done.stderr)
        return zip(
            map(int, done.stdout.split()),
            [path.read_text() for path in self.logs],
            strict=True,
        )

    def _written(self, number, lines):
        path = self.directory / f'{number}.conf'
        self.logs.append(path.with_suffix('.log'))
        text = _CONFIGURED.format(state=self.state, log=self.logs[-1])
        path.write_text(f'{text}{lines}\n')
        return f'{_NOVA if "helper_command" in lines else _ROOT}:{path}'

    def assert_ended(self, found, words):
        code, log = found
        self.assertEqual(1, code, log)
        self.assertNotIn('Traceback', log)
        said = [line for line in log.splitlines() if _OURS in line]
        self.assertEqual(1, len(said), log)
        self.assertEqual(said[0], log.splitlines()[-1])
        self.assertIn(' CRITICAL ', said[0])
        self.assertTrue(said[0].rstrip().endswith('.'), said[0])
        for each in words:
            self.assertEqual(1, said[0].count(each), f'{each}: {said[0]}')

    def test_a_bad_option(self):
        found = self.start(*(case[0] for case in _CASES))
        for case, each in zip(_CASES, found, strict=True):
            self.assert_ended(each, case[1:])

    def test_a_journal_that_others_can_replace(self):
        self.state.chmod(0o777)
        (found,) = self.start('')
        self.assert_ended(found, ('journal_dir', f'chmod go-w {self.state}'))

    def test_good_options(self):
        ((code, log),) = self.start('')
        self.assertEqual(0, code, log)
        self.assertNotIn(_OURS, log)
        self.assertTrue((self.state / 'blockcopy' / 'journal').is_dir())
