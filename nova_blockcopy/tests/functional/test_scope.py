# SPDX-License-Identifier: Apache-2.0
"""The exporters of a host with systemd outlive the unit of nova-compute."""

import pathlib
import sys
import textwrap

import fixtures
import psutil
import testtools

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.lab import systemd
from nova_blockcopy.tests.unit.host import servers

_SECONDS = 60
#: A stand-in for nova-compute, which starts an exporter.
_ENGINE = """
import pathlib, sys, threading
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import servers
folder, name, port = sys.argv[1:]
exporter = servers.exporter(pathlib.Path(folder), int(port), 1)
planned = servers.planned(name)
if not exporter.alive(planned):
    exporter.start(planned, samples.image(f'{folder}/image', samples.FILE))
pathlib.Path(folder, 'ready').touch()
threading.Event().wait()
"""
_UNIT = """
[Unit]
DefaultDependencies=no
[Service]
ExecStart={python} {folder}/engine.py {folder} {name} {port}
WorkingDirectory={home}
Environment=PYTHONPATH={home}
# those of the helper, see runtime.privsep
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_SYS_PTRACE CAP_KILL
# and those that setpriv needs to confine what the helper starts
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_SETPCAP
"""


class TestScope(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.name = f'functional-{self.folder.name}'
        (self.folder / 'image').write_bytes(bytes(4096))
        (self.folder / 'engine.py').write_text(_ENGINE)
        self.systemd = self.useFixture(systemd.Systemd())
        self.systemd.add(
            'nova-compute.service',
            textwrap.dedent(_UNIT).format(
                python=sys.executable,
                folder=self.folder,
                name=self.name,
                port=servers.free_port(),
                home=pathlib.Path(__file__).parents[3],
            ),
        )

    def order(self, action):
        """Start or stop the unit, and wait until it has its exporter."""
        (self.folder / 'ready').unlink(missing_ok=True)
        self.systemd.run('systemctl', action, 'nova-compute')
        self.assertTrue(
            waiting.until((self.folder / 'ready').exists, timeout=_SECONDS)
        )

    def exporters(self):
        return [
            process
            for process in psutil.process_iter(['name', 'cmdline'])
            if process.info['name'] == 'qemu-nbd'
            and self.name in (process.info['cmdline'] or ())
        ]

    def test_a_restart(self):
        self.order('start')
        (before,) = self.exporters()
        self.order('restart')
        self.assertEqual([before], self.exporters())

    def test_a_scope_ends_with_its_exporter(self):
        self.order('start')
        (exporter,) = self.exporters()
        self.assertIn(self.name, self.scopes())
        exporter.terminate()
        self.assertTrue(
            waiting.until(
                lambda: self.name not in self.scopes(), timeout=_SECONDS
            )
        )

    def scopes(self):
        return self.systemd.run(
            *('systemctl', 'list-units', '--all', '--full', '--type=scope')
        )
