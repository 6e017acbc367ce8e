# SPDX-License-Identifier: Apache-2.0
"""Exports by a real qemu-nbd, on this host's loopback address."""

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
from unittest import mock

import psutil

from nova_blockcopy import exception
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import lines
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import servers

SIZE = 1024 * 1024


class TestExporter(base.TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(servers.Orphans())
        path = self.directory / 'disk,with comma.raw'
        path.write_bytes(b'x' * SIZE)
        self.image = samples.image(str(path), samples.FILE)
        self.first = servers.free_port()
        self.name = f'unit-{os.getpid()}-{self.first}'
        self.exporter = self.make(self.first, 30)

    def make(self, first, count=1, **options):
        return servers.exporter(self.directory, first, count, **options)

    def start(self, name=None, exporter=None):
        started = (exporter or self.exporter).start(
            servers.planned(name or self.name, writable=True), self.image
        )
        self.addCleanup(self.kill, started)
        return started

    def kill(self, started):
        # psutil's wait() does not do where eventlet has taken select.poll
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(started.pid, signal.SIGKILL)
            os.waitpid(started.pid, 0)

    def qemu_io(self, started, command):
        """Run a command of qemu-io on an export, as a client of it."""
        return subprocess.run(
            [
                *('qemu-io', '-f', 'raw', '-c', command),
                *(() if started.writable else ('-r',)),
                f'nbd://{started.address}:{started.port}/{started.name}',
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def refused(self, call, *arguments):
        error = self.assertRaises(exception.ExportError, call, *arguments)
        return str(error)

    def test_its_bytes_are_served_both_ways(self):
        with socket.create_server(('127.0.0.1', self.first)):
            started = self.start()
        self.assertNotEqual(self.first, started.port)
        self.assertEqual(
            ('vda', '127.0.0.1', self.name, SIZE),
            (
                started.disk,
                started.address,
                started.name,
                started.size_bytes,
            ),
        )
        self.assertTrue(self.exporter.alive(started))
        self.assertNotIn(
            'verification failed', self.qemu_io(started, 'read -P 0x78 0 1M')
        )
        self.qemu_io(started, 'write -P 0x79 0 4k')
        with open(self.image.path, 'rb') as f:
            self.assertEqual(b'y' * 4096 + b'x', f.read(4097))

        self.exporter.stop([started])
        self.assertFalse(self.exporter.alive(started))
        self.assertFalse(servers.runs(started.pid))
        self.exporter.stop([started])

    def test_a_guest_may_have_it_open_meanwhile(self):
        with open(self.image.path, 'r+b') as f:
            # as a QEMU does that shares nothing of the image with others:
            # RAW_LOCK_SHARED_BASE in its block/file-posix.c, five permissions
            lock = struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 200, 5, 0)
            fcntl.fcntl(f, fcntl.F_OFD_SETLK, lock)
            started = self.start()
        self.assertTrue(self.exporter.alive(started))
        self.assertIn('--persistent', psutil.Process(started.pid).cmdline())

    def test_the_container_of_a_qcow2_is_served_at_its_full_length(self):
        path = str(self.directory / 'top.qcow2')
        subprocess.run(
            ['qemu-img', 'create', '-q', '-f', 'qcow2', path, '8M'],
            check=True,
        )
        self.image = samples.image(path, samples.FILE, samples.QCOW2)
        started = self.start()
        self.assertEqual(os.path.getsize(path), started.size_bytes)
        self.assertGreater(started.size_bytes, 8 * SIZE)
        info = subprocess.run(
            [
                *('qemu-img', 'info', '--output=json', '-f', 'qcow2'),
                f'nbd://127.0.0.1:{started.port}/{started.name}',
            ],
            capture_output=True,
            check=True,
        )
        self.assertEqual(8 * SIZE, json.loads(info.stdout)['virtual-size'])

    def test_what_is_only_read_is_served_in_whole_sectors(self):
        path = str(self.directory / 'top.qcow2')
        subprocess.run(
            ['qemu-img', 'create', '-q', '-f', 'qcow2', path, '8M'],
            check=True,
        )
        before = os.path.getsize(path)
        image = samples.image(path, samples.FILE, samples.QCOW2)
        started = self.exporter.start(servers.planned(self.name), image)
        self.addCleanup(self.kill, started)
        self.assertEqual(before + -before % 512, started.size_bytes)
        self.assertEqual(started.size_bytes, os.path.getsize(path))
        # it begins with the first letter of its header
        self.assertNotIn(
            'verification failed', self.qemu_io(started, 'read -P 0x51 0 1')
        )

    def test_what_a_guest_sees_is_served_by_content(self):
        path = str(self.directory / 'top,1.qcow2')
        subprocess.run(
            [
                *('qemu-img', 'create', '-q', '-f', 'qcow2', path),
                *('-b', self.image.path, '-F', 'raw'),
            ],
            check=True,
        )
        what = 'write -P 0x79 64k 4k'
        subprocess.run(
            ['qemu-io', '-f', 'qcow2', '-c', what, path],
            check=True,
            capture_output=True,
        )
        top = samples.image(path, samples.FILE, samples.QCOW2, self.image)
        started = self.exporter.start(
            servers.planned(self.name, content=True), top
        )
        self.addCleanup(self.kill, started)
        self.assertEqual(SIZE, started.size_bytes)
        self.assert_content(started)
        self.kill(started)
        revived = self.exporter.revive(started, top)
        self.addCleanup(self.kill, revived)
        self.assert_content(revived)

    def assert_content(self, started):
        """It shows both layers, and cannot be written to."""
        for order in ('read -P 0x78 0 64k', 'read -P 0x79 64k 4k'):
            self.assertNotIn(
                'verification failed', self.qemu_io(started, order)
            )
        self.assertIn('--read-only', psutil.Process(started.pid).cmdline())

    def test_a_layer_that_keeps_its_data_in_another_file(self):
        """qemu-nbd would serve the other file."""
        below, top = (str(self.directory / name) for name in ('below', 'top'))
        create = ('qemu-img', 'create', '-q', '-f', 'qcow2')
        for arguments in (
            ('-o', f'data_file={self.directory / "data"}', below, str(SIZE)),
            ('-u', '-b', below, '-F', 'qcow2', top, str(SIZE)),
        ):
            subprocess.run([*create, *arguments], check=True)
        said = self.refused(
            self.exporter.start,
            servers.planned(self.name, content=True),
            samples.image(
                *(top, samples.FILE, samples.QCOW2),
                samples.image(below, samples.FILE, samples.QCOW2),
            ),
        )
        self.assertIn(f'{below}: its data is in an external data file', said)

    def test_a_dead_server_is_revived_where_its_client_looks(self):
        started = self.start()
        self.assertIs(started, self.exporter.revive(started, self.image))
        self.kill(started)
        self.assertFalse(self.exporter.alive(started))
        revived = self.exporter.revive(started, self.image)
        self.addCleanup(self.kill, revived)
        self.assertTrue(self.exporter.alive(revived))
        self.assertNotEqual(started.pid, revived.pid)
        self.assertEqual(
            dataclasses.replace(started, pid=revived.pid), revived
        )

    def test_a_dead_server_whose_place_was_taken(self):
        taken = dataclasses.replace(samples.export(), address='127.0.0.1')
        with socket.create_server(('127.0.0.1', 0)) as server:
            taken = dataclasses.replace(
                taken, port=server.getsockname()[1], name=self.name
            )
            said = self.refused(self.exporter.revive, taken, self.image)
        self.assertIn(str(taken.port), said)

    def test_an_interrupted_start_is_found_by_its_name(self):
        started = self.start()
        planned = dataclasses.replace(started, address='', port=0, pid=0)
        other = dataclasses.replace(planned, name=f'{self.name}-other')
        self.assertFalse(self.exporter.alive(other))
        self.exporter.stop([other])
        self.assertTrue(self.exporter.alive(started))
        os.kill(started.pid, signal.SIGSTOP)
        # it cannot heed SIGTERM now
        self.make(self.first, call_timeout=1).stop([planned])
        self.assertFalse(servers.runs(started.pid))

    def test_a_server_whose_pid_was_used_before(self):
        """psutil still has an object of the process that had it."""
        started = self.start()
        (known,) = (
            process
            for process in psutil.process_iter()
            if process.pid == started.pid
        )
        with mock.patch.object(known, '_ident', (started.pid, 0.0)):
            self.assertNotEqual(known, psutil.Process(started.pid))
            self.exporter.stop([started])
        self.assertFalse(servers.runs(started.pid))

    def test_what_need_not_be_written_to_is_only_read(self):
        started = self.exporter.start(servers.planned(self.name), self.image)
        self.addCleanup(self.kill, started)
        self.assertRaises(
            subprocess.CalledProcessError,
            *(self.qemu_io, started, 'write -P 0x79 0 4k'),
        )
        # whatever its client thinks of it
        self.assertRaises(
            subprocess.CalledProcessError,
            self.qemu_io,
            dataclasses.replace(started, writable=True),
            'write -P 0x79 0 4k',
        )
        with open(self.image.path, 'rb') as f:
            self.assertEqual(b'x' * 4096, f.read(4096))

    def test_a_server_that_cannot_be_ended(self):
        started = self.start()
        exporter = self.make(self.first, call_timeout=1)
        with mock.patch.object(psutil.Process, 'send_signal', autospec=True):
            said = self.refused(exporter.stop, [started])
        self.assertIn('SIGKILL', said)

    def test_no_port_is_free(self):
        with socket.create_server(('127.0.0.1', 0)) as server:
            port = server.getsockname()[1]
            exporter = self.make(port)
            said = self.refused(
                exporter.start, servers.planned('x'), self.image
            )
        self.assertIn(f'from {port} to {port}', said)
        self.assertIn('export_port_max', said)

    def test_an_address_of_another_host(self):
        exporter = self.make(self.first, export_address='192.0.2.1')
        said = self.refused(exporter.start, servers.planned('x'), self.image)
        self.assertIn('192.0.2.1', said)
        self.assertIn('export_address', said)

    def test_an_image_that_is_not_there(self):
        image = samples.image(str(self.directory / 'gone'), samples.FILE)
        said = self.refused(self.exporter.start, servers.planned('x'), image)
        self.assertIn(image.path, said)

    def test_what_qemu_nbd_says_is_passed_on(self):
        image = dataclasses.replace(self.image, kind=samples.BLOCK)
        said = self.refused(
            self.exporter.start, servers.planned(self.name), image
        )
        self.assertIn('host_device', said)

    def test_each_server_in_clear_text_is_a_warning(self):
        found = self.useFixture(lines.Lines())
        started = self.start()
        said = (
            f'WARNING Disk vda is exported in clear text at port '
            f'{started.port} of {started.address}: every program that can '
            f'connect to this port can read and write the disk. To encrypt '
            f'exports, set [blockcopy] export_tls on all hosts.'
        )
        self.kill(started)
        revived = self.exporter.revive(started, self.image)
        self.addCleanup(self.kill, revived)
        self.assertEqual(
            [
                said,
                'WARNING The export of disk vda has ended; starting it again',
                said,
            ],
            [f'{each.level} {each.text}' for each in found.all],
        )

    def test_strangers_who_wait_keep_nobody_out(self):
        started = self.start()
        for _each in range(60):
            stranger = socket.create_connection(
                (started.address, started.port), timeout=5
            )
            self.addCleanup(stranger.close)
            # the server says hello only to whom it has a place for
            self.assertEqual(b'NBDMAGIC', stranger.recv(8))
        self.assertNotIn(
            'verification failed', self.qemu_io(started, 'read -P 0x78 0 1M')
        )
