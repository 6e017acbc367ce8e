# SPDX-License-Identifier: Apache-2.0
"""What is seen from a container with process ids of its own.

Real namespaces take the place of the container, and the machine that of the
host outside.
"""

import os
import pathlib
import signal
import socket
import stat
import subprocess
import sys

import ddt
import fixtures
import testtools

import nova_blockcopy
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import tied
from nova_blockcopy.tests.unit.host import servers

_SECONDS = 60
_MIB = 1024 * 1024
_SOURCE = pathlib.Path(nova_blockcopy.__file__).parents[1]
#: As a container that shares files and devices with the host.
_CONTAINER = (
    *('unshare', '--pid', '--fork', '--kill-child=KILL', '--mount-proc'),
)
_SEEN = """
import sys
from nova_blockcopy import exception
from nova_blockcopy.host import holders
try:
    print(*holders.of(sys.argv[1]), sep='; ')
except exception.ImageError as e:
    print('refused:', e)
"""
_BESIDE_LIBVIRT = f"""
import subprocess, sys
libvirt = subprocess.Popen([sys.argv[2], '600'])
{_SEEN}
libvirt.kill()
"""
_EXPORT = """
import pathlib, sys, time
from nova_blockcopy.host import scope
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import servers
folder, path, port = sys.argv[1:]
exporter = servers.exporter(pathlib.Path(folder), int(port), 1)
image = samples.image(path, samples.FILE)
export = exporter.start(servers.planned('contained'), image)
print(exporter.alive(export), scope.obstacle(), flush=True)
time.sleep(600)
"""


class ContainerTestCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.Timeout(2 * _SECONDS, gentle=True))
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def image(self, name='image'):
        path = self.folder / name
        with open(path, 'wb') as f:
            f.truncate(_MIB)
        return str(path)

    def device(self):
        """A loop device, in the place of a volume."""
        path = subprocess.run(
            ['losetup', '--find', '--show', self.image('volume')],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        self.addCleanup(subprocess.check_call, ['losetup', '-d', path])
        return path

    def node(self, device):
        """Another node of a device, as libvirt makes for each guest."""
        folder = self.folder / 'dev'
        folder.mkdir()
        subprocess.run(['mount', '-t', 'tmpfs', 'dev', folder], check=True)
        self.addCleanup(subprocess.check_call, ['umount', folder])
        path = folder / 'node'
        os.mknod(path, stat.S_IFBLK | 0o600, os.stat(device).st_rdev)
        return str(path)

    def guest(self, path):
        """Start a QEMU outside, with a disk that its guest writes to."""
        monitor = str(self.folder / 'monitor')
        guest = subprocess.Popen(
            tied.tied(
                *('qemu-system-x86_64', '-S', '-machine', 'pc,accel=tcg'),
                *('-nodefaults', '-display', 'none', '-m', '16'),
                *('-drive', f'file={path},format=raw,if=virtio'),
                *('-qmp', f'unix:{monitor},server=on,wait=off'),
            )
        )
        self.addCleanup(guest.wait)
        self.addCleanup(guest.kill)
        self.assertTrue(
            waiting.until(lambda: self.greets(monitor), timeout=_SECONDS)
        )
        return guest

    def greets(self, monitor):
        """QEMU answers as soon as it has opened all disks."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_SECONDS)
            try:
                client.connect(monitor)
                return bool(client.recv(1))
            except OSError:
                return False


@ddt.ddt
class TestSearch(ContainerTestCase):
    def seen(self, path, script=_SEEN, *more):
        """Search for the users of an image in the container."""
        return subprocess.run(
            [*_CONTAINER, sys.executable, '-c', script, path, *more],
            check=True,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        ).stdout.strip()

    def test_a_file_of_a_guest_outside(self):
        path = self.image()
        guest = self.guest(path)
        self.assertIn('QEMU that /proc does not show', self.seen(path))
        guest.kill()
        guest.wait()
        self.assertEqual('', self.seen(path))

    def test_a_file_of_a_program_without_locks(self):
        """The documentation says that such a program is not seen."""
        path = self.image()
        with open(path, 'rb') as f:
            child = subprocess.Popen(['sleep', '600'], stdin=f)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.assertEqual('', self.seen(path))

    @ddt.data(True, False)
    def test_a_device_is_refused(self, used):
        device = self.device()
        if used:
            self.guest(self.node(device))
        said = self.seen(device)
        self.assertIn('refused', said)
        self.assertIn('pid_mode', said)

    def test_a_device_whose_node_is_the_same(self):
        device = self.device()
        self.guest(device)
        self.assertIn('QEMU that /proc does not show', self.seen(device))

    def test_a_device_beside_libvirt(self):
        """All in one container, guests as well."""
        daemon = self.folder / 'virtqemud'
        daemon.symlink_to('/bin/sleep')
        device = self.device()
        self.assertEqual('', self.seen(device, _BESIDE_LIBVIRT, str(daemon)))


class TestGuest(base.TestCase):
    """A guest that a real libvirt has started."""

    def seen(self, path):
        return self.lab.a.run(
            *(*_CONTAINER, 'env', f'PYTHONPATH={_SOURCE}'),
            *(sys.executable, '-c', _SEEN, path),
        ).stdout.strip()

    def test_its_file(self):
        made = self.set_scene('raw')
        (file,) = (disk.path for disk in made.sources.values())
        self.assertIn('QEMU that /proc', self.seen(file))


class TestExporter(ContainerTestCase):
    def listens(self, port):
        with socket.socket() as client:
            return client.connect_ex(('127.0.0.1', port)) == 0

    def test_it_ends_with_the_container(self):
        port = servers.free_port()
        container = subprocess.Popen(
            tied.tied(
                *(*_CONTAINER, sys.executable, '-c', _EXPORT),
                *(str(self.folder), self.image(), str(port)),
            ),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(container.communicate)
        self.addCleanup(container.kill)
        assert container.stdout is not None
        said = container.stdout.readline()
        self.assertIn('True systemd is not the first process', said)
        self.assertTrue(self.listens(port))
        container.send_signal(signal.SIGKILL)
        self.assertTrue(
            waiting.until(lambda: not self.listens(port), timeout=_SECONDS)
        )
