# SPDX-License-Identifier: Apache-2.0
"""What runs as root, from a process that is not: through a real helper.

The helper has the rights of the tests, as they need not be root.
"""

import contextlib
import os
import shlex
import socket
import stat
import subprocess
import sys

import ddt
import fixtures
from oslo_config import cfg
from oslo_config import fixture

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import container
from nova_blockcopy.host import deltas
from nova_blockcopy.host import holders
from nova_blockcopy.host import images
from nova_blockcopy.host import transfer
from nova_blockcopy.runtime import privsep
from nova_blockcopy.runtime import task
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import servers
from nova_blockcopy.tests.unit.runtime import lasting

MIB = 1024 * 1024
_CLIENT_MODE = """
import os
os.geteuid = lambda: {}
from nova_blockcopy.runtime import privsep
print(privsep.context.client_mode)
"""
_NO_RIGHTS = f"""
[{privsep.SECTION}]
capabilities =
"""
_DIRECTORIES = """
[blockcopy]
image_dirs = {directory}
delta_dir = {directory}/state/blockcopy/deltas
"""


class HelperTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        config = self.useFixture(fixture.Config(cfg.CONF))
        config.config(
            group=privsep.SECTION, helper_command=self._helper_command()
        )
        privsep.context.start()
        self.addCleanup(privsep.context.set_client_mode, False)
        self.addCleanup(privsep.context.stop)
        privsep.context.set_client_mode(True)

    def _helper_command(self):
        file = self.directory / 'helper.conf'
        file.write_text((_NO_RIGHTS if os.geteuid() else '') + self.options())
        return shlex.join([*samples.HELPER, '--config-file', str(file)])

    def options(self):
        """The part of nova.conf that sets the bounds of the helper."""
        return _DIRECTORIES.format(directory=self.directory)

    def here(self, call, *arguments):
        """Call it without the helper."""
        privsep.context.set_client_mode(False)
        try:
            return call(*arguments)
        finally:
            privsep.context.set_client_mode(True)

    def layered(self):
        top, below = (str(self.directory / name) for name in ('top', 'below'))
        with open(below, 'wb') as f:
            f.write(b'x' * MIB)
        subprocess.run(
            [
                *('qemu-img', 'create', '-q', '-f', 'qcow2'),
                *('-b', below, '-F', 'raw', top),
            ],
            check=True,
        )
        return samples.layered(top, below)


class TestImages(HelperTestCase):
    def test_the_same_is_found(self):
        image = self.layered()
        for call, *arguments in (
            (images.describe, image.path, model.ImageFormat.QCOW2),
            (images.size, image),
            (images.length, image.path),
            (images.alignment, image.path),
            (images.cluster, image),
            (images.identity, image.path),
            (images.digest, image),
            (holders.of, image.path),
        ):
            self.assertEqual(self.here(call, *arguments), call(*arguments))

    def test_it_is_extended(self):
        image = self.layered()
        wanted = container.extend(image, 30)
        self.assertEqual(wanted, self.here(images.length, image.path))
        container._lengthen(image.path, 1)
        self.assertEqual(wanted, images.length(image.path))

    def test_holders_are_neither_the_helper_nor_who_asks(self):
        with open(self.layered().path, 'rb') as f:
            self.assertEqual((), holders.of(f.name))
            child = subprocess.Popen(['sleep', '600'], stdin=f)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        (holder,) = holders.of(f.name)
        self.assertIn(str(child.pid), holder)

    def test_an_error_is_still_ours(self):
        path = str(self.directory / 'gone')
        for call, *arguments in (
            (images.length, path),
            (images.digest, samples.image(path)),
            (images.size, samples.image(path, format_=samples.QCOW2)),
        ):
            error = self.assertRaises(exception.ImageError, call, *arguments)
            self.assertIn(path, str(error))


class TestNewFiles(HelperTestCase):
    """oslo.privsep sets the umask of the helper to 0."""

    def setUp(self):
        super().setUp()
        self.folder = self.directory / 'state' / 'blockcopy' / 'deltas'
        deltas.prepare(str(self.folder))

    def assert_mode(self, wanted, path):
        self.assertEqual(wanted, stat.S_IMODE(os.stat(path).st_mode))

    def test_directories(self):
        self.assert_mode(0o711, self.folder)
        self.assert_mode(0o711, self.folder.parent)

    def test_a_delta(self):
        below = samples.image(str(self.directory / 'below'), samples.FILE)
        top = model.overlay(str(self.folder / 'top'), below)
        deltas.create(top, MIB, 30)
        self.assert_mode(0o600, top.path)

    def test_the_file_of_a_further_round(self):
        path = str(self.folder / 'vda.seed')
        transfer._empty(path, MIB, True)
        self.assert_mode(0o600, path)


class TestExporter(HelperTestCase):
    def setUp(self):
        super().setUp()
        first = servers.free_port()
        self.name = f'unit-{first}'
        self.exporter = servers.exporter(self.directory, first, 30)

    def test_a_server_outlives_the_helper(self):
        image = self.layered()
        started = self.exporter.start(servers.planned(self.name), image)
        self.addCleanup(self.here, self.exporter.stop, [started])
        self.assertTrue(self.exporter.alive(started))
        self.assertIs(started, self.exporter.revive(started, image))
        privsep.context.stop()
        self.assertTrue(self.here(self.exporter.alive, started))
        self.here(self.exporter.stop, [started])
        self.assertFalse(self.here(self.exporter.alive, started))

    def test_it_is_ended(self):
        started = self.exporter.start(
            servers.planned(self.name), self.layered()
        )
        self.exporter.stop([started])
        self.assertFalse(self.exporter.alive(started))

    def test_a_port_that_is_taken_and_an_address_of_another_host(self):
        for address, word in (
            ('127.0.0.1', 'is free'),
            ('192.0.2.1', 'export_address'),
        ):
            port = servers.free_port()
            exporter = servers.exporter(
                self.directory, port, 1, export_address=address
            )
            with socket.create_server(('127.0.0.1', port)):
                error = self.assertRaises(
                    exception.ExportError,
                    *(exporter.start, servers.planned(self.name)),
                    self.layered(),
                )
            self.assertIn(word, str(error))

    def test_what_qemu_nbd_says_is_passed_on(self):
        image = samples.image(self.layered().path, samples.BLOCK)
        error = self.assertRaises(
            exception.ExportError,
            *(self.exporter.start, servers.planned(self.name), image),
        )
        self.assertIn('host_device', str(error))


class TestPool(HelperTestCase):
    """Calls that take long leave threads of the helper to the others."""

    def setUp(self):
        privsep._places.cache_clear()
        self.addCleanup(privsep._places.cache_clear)
        super().setUp()

    def reading(self, number):
        """Begin calls that last until the test feeds them."""
        pipe = str(self.directory / 'pipe')
        os.mkfifo(pipe)  # the open of a reader waits for a writer
        calls = [
            task.Task(f'read {n}', lambda _: lasting.read(pipe))
            for n in range(number)
        ]
        self.addCleanup(self.feed, pipe, calls)
        return calls

    def feed(self, pipe, calls):
        def all_done():
            with contextlib.suppress(OSError):  # no reader waits just now
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            return all(call.done for call in calls)

        self.assertTrue(waiting.until(all_done, timeout=60, interval=0.01))

    def test_more_of_them_than_threads(self):
        threads = cfg.CONF[privsep.SECTION].thread_pool_size
        self.reading(2 * threads)
        image = self.layered()
        short = task.Task('short', lambda _: images.length(image.path))
        self.assertTrue(short.wait(60))
        self.assertEqual(self.here(images.length, image.path), short.result)

    def test_none_ends(self):
        self.useFixture(fixtures.MockPatchObject(privsep, '_PATIENCE', 0.1))
        config = self.useFixture(fixture.Config(cfg.CONF))
        config.config(group=privsep.SECTION, thread_pool_size=1)
        (first, second) = calls = self.reading(2)
        self.assertTrue(
            waiting.until(lambda: first.done or second.done, timeout=60)
        )
        (busy,) = [call.failure for call in calls if call.done]
        self.assertIsInstance(busy, exception.HelperBusy)
        self.assertIn('thread_pool_size', str(busy))


class TestChildren(base.TestCase):
    """A process that loses the exit status of its commands runs none."""

    def test_the_process_is_root_itself(self):
        self.ignore_children()
        error = self.assertRaises(
            exception.ChildrenIgnored, images.length, str(self.directory)
        )
        self.assertIn('SIGCHLD', str(error))


class TestChildrenOfHelper(HelperTestCase):
    """The helper inherits SIGCHLD from the process that starts it."""

    def setUp(self):
        self.ignore_children()
        super().setUp()

    def test_it_refuses_each_call(self):
        error = self.assertRaises(
            exception.ChildrenIgnored, images.length, str(self.directory)
        )
        self.assertNotIn(f' {os.getpid()} ', str(error))


@ddt.ddt
class TestContext(base.TestCase):
    @ddt.data((0, 'False'), (64057, 'True'))
    @ddt.unpack
    def test_only_root_needs_no_helper(self, user, expected):
        said = subprocess.run(
            [sys.executable, '-c', _CLIENT_MODE.format(user)],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(expected, said.stdout.strip())

    @ddt.data('false', '/nowhere/sudo')
    def test_a_helper_that_does_not_start(self, program):
        config = self.useFixture(fixture.Config(cfg.CONF))
        config.config(group=privsep.SECTION, helper_command=program)
        privsep.context.set_client_mode(True)
        self.addCleanup(privsep.context.set_client_mode, False)
        error = self.assertRaises(
            exception.HelperError, images.length, str(self.directory)
        )
        self.assertIn('[nova_blockcopy_sys_admin]', str(error))

    def test_the_helper_finds_the_context(self):
        config = self.useFixture(fixture.Config(cfg.CONF))
        config.config(group=privsep.SECTION, helper_command='sudo helper')
        self.assertEqual(
            [
                *('sudo', 'helper'),
                *(
                    '--privsep_context',
                    'nova_blockcopy.runtime.privsep.context',
                ),
                *('--privsep_sock_path', '/tmp/x'),
            ],
            privsep.context.helper_command('/tmp/x'),
        )
