# SPDX-License-Identifier: Apache-2.0
"""An ordinary user asks the helper, which runs as root, for more than images.

The process of the user starts the helper as root, and then gives up all
rights. So the machine needs no entry in its sudoers.
"""

import json
import pathlib
import subprocess
import sys

import fixtures
import testtools

_PROJECT = pathlib.Path(__file__).parents[3]
_USER = 64057
_HELPER = 'from oslo_privsep import daemon\ndaemon.helper_main()\n'
_CONFIGURATION = """
[DEFAULT]
state_path = {home}
[nova_blockcopy_sys_admin]
helper_command = {python} {home}/helper.py --config-file {home}/nova.conf
"""
#: Tells for each attempt the error, or null for success.
_ATTEMPTS = """
import json, os, pathlib, socket, subprocess, sys
from oslo_config import cfg
from nova_blockcopy import conf, exception, model
from nova_blockcopy.host import container, deltas, export, firmware, images
from nova_blockcopy.host import holders, transfer
from nova_blockcopy.migration.source import migration
from nova_blockcopy.runtime import privsep
from nova_blockcopy.tests.unit import samples

home, user = pathlib.Path(sys.argv[1]), int(sys.argv[2])
secret = str(home / 'root' / 'secret')
cfg.CONF([f'--config-file={home}/nova.conf'])
privsep.context.set_client_mode(True)
privsep.context.start()
os.setgroups([])
os.setgid(user)
os.setuid(user)
try:
    open(secret)
    raise SystemExit('this process has the rights of root')
except PermissionError:
    pass

instances = home / 'instances'
link, pipe = str(instances / 'link'), str(instances / 'pipe')
os.symlink(secret, link)
os.mkfifo(pipe)
layered = str(instances / 'layered')
subprocess.run(
    ['qemu-img', 'create', '-q', '-f', 'qcow2', '-u', '-b', secret, '-F',
     'raw', layered, '1M'], check=True)
options = cfg.ConfigOpts()
conf.register_opts(options)
options([])
with socket.create_server(('127.0.0.1', 0)) as found:
    port = found.getsockname()[1]
settings = conf.settings(options, export_port_min=port, export_port_max=port,
                         allow_plaintext=True)
exporter = export.Exporter(settings)


def seed(path):
    return model.Seed(
        disk='vda', source=model.raw_file(secret), extents=(),
        target=model.raw_file(path), size_bytes=0,
        export=samples.export('vda', port))


def serve(path):
    started = exporter.start(
        samples.export('vda', 0, name=f'bounds-{port}', pid=0),
        model.raw_file(path))
    exporter.stop([started])


def through_a_header():
    described = images.describe(layered, model.ImageFormat.QCOW2)
    return images.digest(described.backing)


attempts = {
    'read': lambda: images.digest(model.raw_file(secret)),
    'read a link': lambda: images.digest(model.raw_file(link)),
    'read through a header': through_a_header,
    'measure': lambda: images.length(secret),
    'serve': lambda: serve(secret),
    'serve a link': lambda: serve(link),
    'lengthen': lambda: container.pad(model.raw_file(secret)),
    'write': lambda: firmware._write(secret, b'mine'),
    'write through a link': lambda: firmware._write(link, b'mine'),
    'empty': lambda: transfer.fit(seed(secret)),
    'empty a link': lambda: transfer.fit(seed(link)),
    'fill': lambda: transfer.begin(seed(secret), 512),
    'create': lambda: deltas.create(
        model.overlay(str(home / 'root' / 'new'), model.raw_file(secret)),
        512, 30),
    'remove': lambda: deltas.remove([secret]),
}
if sys.argv[3:] != ['without-pipe']:
    attempts['wait for a pipe'] = lambda: images.length(pipe)
said = {}
for name, attempt in attempts.items():
    try:
        attempt()
        said[name] = None
    except exception.BlockCopyError as e:
        said[name] = f'{type(e).__name__}: {e}'
image = instances / 'image'
image.write_bytes(bytes(512))
said['length'] = images.length(str(image))
privsep.context.stop()
print(json.dumps(said))
"""


class TestBounds(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.home = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.home.chmod(0o711)
        (self.home / 'instances').mkdir()
        (self.home / 'instances').chmod(0o777)
        (self.home / 'root').mkdir(mode=0o711)
        self.secret = self.home / 'root' / 'secret'
        self.secret.write_text('secret')
        self.secret.chmod(0o600)
        (self.home / 'helper.py').write_text(_HELPER)
        (self.home / 'nova.conf').write_text(
            _CONFIGURATION.format(home=self.home, python=sys.executable)
        )

    def test_no_attempt_succeeds(self):
        done = subprocess.run(
            [sys.executable, '-c', _ATTEMPTS, str(self.home), str(_USER)],
            cwd=_PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        said = json.loads(done.stdout)
        self.assertEqual(512, said.pop('length'))
        for name, error in said.items():
            self.assertIn('The privsep helper', error or 'done', name)
        self.assertEqual('secret', self.secret.read_text())
        self.assertEqual(
            ['secret'], [x.name for x in self.home.glob('root/*')]
        )
