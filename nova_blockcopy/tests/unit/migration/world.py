# SPDX-License-Identifier: Apache-2.0
"""Two hosts in memory with the whole engine on them, and real image files."""

import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import threading
from typing import Any

import fixtures
import libvirt

from nova_blockcopy import domxml
from nova_blockcopy import events
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.host import boot
from nova_blockcopy.host import command
from nova_blockcopy.host import deltas
from nova_blockcopy.host import export
from nova_blockcopy.host import qemu_log
from nova_blockcopy.host import reach
from nova_blockcopy.host import transfer
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.migration.destination import way_back
from nova_blockcopy.migration.source import migration as engine
from nova_blockcopy.migration.source import offer
from nova_blockcopy.migration.source import readiness
from nova_blockcopy.migration.source import remote
from nova_blockcopy.records import journal
from nova_blockcopy.runtime import children
from nova_blockcopy.tests.lab import certificates
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

SIZE = 1024 * 1024
HOME = 'qemu+tcp://host-a/system'


def qemu(*argv):
    subprocess.run(argv, check=True, capture_output=True)


def format_of(path: str) -> model.ImageFormat:
    """What a test or the engine has made of an image."""
    with open(path, 'rb') as f:
        magic = f.read(4)
    return samples.QCOW2 if magic == b'QFI\xfb' else samples.RAW


class WorldTestCase(base.TestCase):
    """A guest with two raw files runs on host a; host b has their bases."""

    disks: tuple[str, ...] = ('vda', 'vdb')
    mode: model.Mode = model.Mode.DIRECT
    #: Of each disk, those that are read over the network in the window.
    layers = 1

    def setUp(self):
        super().setUp()
        for name in 'ab':
            (self.directory / name).mkdir()
            for disk in self.disks:
                self.make_image(name, disk)
        #: What the guest has on its disks.
        self.content = {
            disk: bytearray(b'x' * 4096).ljust(SIZE, b'\0')
            for disk in self.disks
        }
        self.home_xml = samples.domain(
            *(
                samples.file_xml(disk, self.path('a', disk))
                for disk in self.disks
            )
        )
        self.machine = fakes.Machine(self.home_xml, self.home_xml)
        self.a = fakes.Connection(self.machine)
        self.b = fakes.Connection()
        self.machine.carry = self.a.carry = self.b.carry = self.carry
        listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listener.close)
        self.away = f'qemu+tcp://127.0.0.1:{listener.getsockname()[1]}/system'
        self.listener = listener
        self.a.peers[self.away] = self.b
        self.b.peers[HOME] = self.a
        self.exporter = fakes.Exporter()
        for target, name, value in (
            (export, 'Exporter', lambda _settings: self.exporter),
            (transfer, 'run', self.transfer),
            # nothing here needs time to come to its senses
            (way_back, '_WAKE_INTERVAL', 0.01),
            (qemu_log, '_DIRECTORY', str(self.directory)),
        ):
            self.useFixture(
                fixtures.MonkeyPatch(f'{target.__name__}.{name}', value)
            )
        real = reach.check_source
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{reach.__name__}.check_source',
                # a name that only this world knows
                lambda host, uri, timeout: (
                    uri == HOME or real(host, uri, timeout)
                ),
            )
        )
        self.options = {}
        self.cancelled = threading.Event()
        self.asked = []
        self.on_message = lambda _message: None
        self.seen = []
        self.pieces = []
        self.pen = threading.Lock()
        self.on_piece = lambda _seed, _piece: None
        self.on_progress = lambda _state: None
        #: The events of both hosts.
        self.told: list[events.Event] = []
        self.restart_destination()

    def path(self, host, disk):
        return str(self.directory / host / disk)

    def make_image(self, host, disk, size=SIZE):
        with open(self.path(host, disk), 'wb') as f:
            if host == 'a':
                f.write(b'x' * 4096)
            f.truncate(size)

    def make_layered(self, disk):
        """Have the guest run on a qcow2 on top of a raw file.

        The other host has the same raw file, and a base on top of that.
        """
        for host in 'ab':
            path = f'{self.path(host, disk)}.below'
            shutil.copyfile(self.path('a', disk), path)
        for host in 'ba':
            path = f'{self.path(host, disk)}.below'
            below = samples.image(path, samples.FILE)
            image = model.overlay(self.path(host, disk), below)
            subprocess.run(
                [
                    *('qemu-img', 'create', '-q', '-f', 'qcow2'),
                    *('-b', below.path, '-F', 'raw', image.path),
                ],
                check=True,
            )
        self.use_at_home(disk, image)
        self.write(self.machine, disk, 8192, 'o')

    def whole(self, *disks):
        """Have raw bases for these disks that are to take all layers."""
        for disk in disks:
            self.make_image('b', disk)
        return {
            disk: model.BaseRequest(
                path=self.path('b', disk), format=samples.RAW, whole=True
            )
            if disk in disks
            else model.BaseRequest(path=self.path('b', disk))
            for disk in self.disks
        }

    def make_qcow2(self, disk):
        """Have the guest run on a qcow2 without layers below it."""
        path = self.path('a', disk)
        self.convert('a', disk, 'raw', 'qcow2')
        self.use_at_home(
            disk, samples.image(path, samples.FILE, samples.QCOW2)
        )

    def convert(self, host, disk, before, after):
        """Make an image one of another format, of the same content."""
        path = self.path(host, disk)
        shutil.move(path, f'{path}.{before}')
        qemu(
            *('qemu-img', 'convert', '-f', before, '-O', after),
            *(f'{path}.{before}', path),
        )

    def use_at_home(self, disk, image):
        """Have the guest run on this image from the beginning."""
        self.home_xml = fakes.with_source(self.home_xml, disk, image)
        self.machine.xml = self.machine.definition = self.home_xml

    def host_settings(self, name):
        options = {
            'call_timeout': 5,
            'pivot_timeout': 5,
            'mode': self.mode,
            **self.options,
        }
        return samples.settings(self.directory / name, **options)

    def encrypt(self):
        """Have both hosts use TLS, with certificates of one authority."""
        made = self.directory / 'pki'
        authority = certificates.Authority(self.directory / 'authority')
        authority.certify(made, 'host', '127.0.0.1')
        self.exporter.tls = True
        encrypted = {'export_tls': True, 'export_tls_dir': str(made)}
        self.options = {**self.options, **encrypted}

    def restart_destination(self):
        """The process on host b forgets what it has in memory."""
        # its threads go on here, but a process that has ended has no locks
        locks = self.directory / 'b' / 'journal' / 'locks'
        shutil.rmtree(locks, ignore_errors=True)
        self.destination = dispatcher.Dispatcher(
            self.b.hypervisor('host-b'),
            self.host_settings('b'),
            observers=[self.told.append],
        )

    def channel(self):
        return peer.InProcess(self._handle)

    def _handle(self, message):
        if message['operation'] != 'status':
            self.asked.append(message['operation'])
        self.on_message(message)
        return self.destination.handle(message)

    def remote(self, migration='m1'):
        """The destination as the source of a migration sees it."""
        record = samples.record(migration=migration)
        return remote.RemoteDestination(self.channel(), record, 0.01)

    def prepare(self, far, dry_run=False, tls=False, port=None, xml=''):
        """Have the destination check its bases and open its journal."""
        here = self.a.hypervisor('host-a')
        side = readiness.Readiness(here, self.host_settings('a'))
        chosen = plan.Selection(moves=self.disks, left_alone=())
        return far.prepare(
            offer.Offer(
                source='host-a',
                boot=boot.current(),
                home=model.Endpoint(uri=HOME),
                mode=self.host_settings('a').mode,
                tls=tls,
                bases=self.request().bases,
                disks=side.describe(here.guest(samples.UUID), chosen),
                selection=chosen,
                xml=xml,
            ),
            port,
            dry_run=dry_run,
            cancelled=self.cancelled,
        )

    def request(self, **changes):
        values = {
            'guest': 'guest',
            'bases': {
                disk: model.BaseRequest(path=self.path('b', disk))
                for disk in self.disks
            },
            'home': model.Endpoint(uri=HOME),
            'destination': model.Endpoint(uri=self.away),
            **changes,
        }
        return engine.Request(**values)

    def migration(self, switch=None, **changes):
        self.restart_destination()
        made = engine.Migration(
            self.request(**changes),
            self.a.hypervisor('host-a'),
            self.channel(),
            self.host_settings('a'),
            observers=[events.on_progress(self._listen), self.told.append],
            switch=switch,
        )
        self.running = made
        return made

    def retried(self):
        """The acts that were done again, with the side of each."""
        return [
            (str(each.subject.role), str(each.act))
            for each in self.told
            if isinstance(each, events.Retried)
        ]

    def _listen(self, now):
        if not self.seen or self.seen[-1] != now.state:
            self.seen.append(now.state)
        self.on_progress(now.state)

    def when(self, state, act):
        """Do something once, when the migration gets to a state."""

        def on_progress(now):
            if now == state:
                self.on_progress = lambda _state: None
                act()

        self.on_progress = on_progress

    def when_copying(self, act):
        """Do something once with the guest, when all its copies run."""

        def on_progress(_now):
            machine = self.b.machines.get(samples.UUID)
            if machine is not None and len(machine.jobs) == len(self.disks):
                self.on_progress = lambda _state: None
                act(machine)

        self.on_progress = on_progress

    def arriving(self, **attributes):
        """Have the guest that arrives on host b be of this kind."""

        def settle(machine):
            for name, value in attributes.items():
                setattr(machine, name, value)
            return machine

        self.b.settle = settle

    def record(self, host):
        at = journal.Journal(str(self.directory / host / 'journal'))
        return at.find(samples.UUID)

    def refused(self, kind, call, *arguments):
        error = self.assertRaises(kind, call, *arguments)
        self.assertIs(kind, type(error))
        return error

    def undone(self, kind=exception.MigrationUndone):
        """Run a migration that is undone, and check that it was."""
        error = self.refused(kind, self.migration().run)
        self.assert_untouched()
        return error

    def ended(self, host):
        """Run one whose guest ends on that host, and is to be started."""
        path = self.directory / 'guest.log'
        path.write_text('started\nAssertion failed\n')
        error = self.undone(exception.GuestEnded)
        self.assertTrue(self.a.machines[samples.UUID].off)
        for part in (
            *(f'has ended on {host}', 'Assertion failed', 'start it there'),
            *('guest on host-a are complete', str(error.__cause__)),
        ):
            self.assertIn(part, str(error))
        return error

    def stuck(self):
        """Run a migration that gets stuck, with its journal kept."""
        error = self.refused(exception.MigrationStuck, self.migration().run)
        record = self.record('a')
        self.assertIsNotNone(record)
        self.assertEqual('stuck', record.state)
        self.assertEqual('stuck', self.seen[-1])
        return error

    def assert_untouched(self):
        """The guest is at home as it was, and nothing is left anywhere."""
        self.assertEqual([samples.UUID], list(self.a.machines))
        self.assertEqual({}, self.b.machines)
        machine = self.a.machines[samples.UUID]
        home = domxml.disks(self.home_xml)
        if not machine.off:
            self.assertEqual(home, domxml.disks(machine.shown()))
        self.assertEqual(home, domxml.disks(machine.definition or ''))
        self.assert_content('a')
        self.assert_no_litter()

    def assert_all_served(self):
        """All that the guest reads over the network is still there."""
        self.assertEqual(
            self.layers * len(self.disks), len(self.exporter.served)
        )

    def assert_no_litter(self):
        self.assertEqual({}, self.exporter.served)
        self.assertIsNone(self.record('a'))
        self.assertIsNone(self.record('b'))
        self.assertEqual([], self.overlays('a') + self.overlays('b'))

    def overlays(self, host):
        directory = self.directory / host / 'deltas'
        return sorted(path.name for path in directory.glob('*'))

    def assert_content(self, host):
        """The disks on this host are what the guest has written."""
        for disk, content in self.content.items():
            path = self.path(host, disk)
            format_ = format_of(path)
            found = f'{path}.found'
            qemu(
                'qemu-img', 'convert', '-f', format_, '-O', 'raw', path, found
            )
            with open(found, 'rb') as f:
                self.assertTrue(f.read() == content, f'{disk} differs')
            os.unlink(found)

    def assert_arrived(self):
        """The guest lives on its bases on host b, and nowhere else."""
        self.assertEqual({}, self.a.machines)
        machine = self.b.machines[samples.UUID]
        for disk in self.disks:
            for xml in (machine.shown(), machine.definition):
                self.assertIn(self.path('b', disk), xml or '')
                self.assertNotIn(self.path('a', disk), xml or '')
        self.assertNotIn(
            'protocol="nbd"', machine.shown() + (machine.definition or '')
        )
        self.assert_content('b')
        self.assert_no_litter()

    # -- what the guest writes, and where it goes ------------------------

    def write(self, machine, disk, offset, text, length=4096):
        """Have the guest write to a disk, wherever that is now."""
        source: Any = domxml.disks(machine.xml)[disk].source
        self.content[disk][offset : offset + length] = text.encode() * length
        if isinstance(source, model.NetworkSource):
            source = self.exporter.served[source.name]
        what = f'write -q -P {ord(text)} {offset} {length}'
        with self.pen:
            qemu('qemu-io', '-f', source.format, '-c', what, source.path)

    def carry(self, machine, disk, job):
        """Do to the images what a job has done by its pivot."""
        source = domxml.disks(machine.xml)[disk].source
        if job.commit:
            assert isinstance(source, model.Image)
            layers = {layer.path: layer for layer in model.chain(source)}
            deltas.commit(layers[job.top or source.path], job.base, 30)
            if job.top is not None:
                on_top = dataclasses.replace(source, backing=job.base)
                deltas.stand_on(on_top, 30)
            return
        assert isinstance(source, model.NetworkSource)
        top = self.exporter.served[source.name]
        below = source.backing
        if isinstance(below, model.NetworkSource):
            below = self.exporter.served[below.name]
        if job.shallow:
            below = job.base
        read = dataclasses.replace(
            top, path=f'{job.base.path}.read', backing=below
        )
        shutil.copyfile(top.path, read.path)
        if below is not None:
            deltas.stand_on(read, 30)
        if job.shallow:
            deltas.commit(read, job.base, 30)
        else:
            qemu(
                *('qemu-img', 'convert', '-n', '-f', read.format),
                *('-O', job.base.format, read.path, job.base.path),
            )
        os.unlink(read.path)

    def transfer(self, seed, piece, *, rate, zeroed, encryption, timeout):
        """Carry a piece from its export, as qemu-img does."""
        self.pieces.append((seed, piece))
        self.on_piece(seed, piece)
        image = self.exporter.served.get(seed.export.name)
        if image is None:
            raise command.CommandFailed(command='qemu-img', reason='refused')
        path = image.path
        if seed.by_content:
            path = f'{seed.target.path}.{piece.offset}'
            qemu('qemu-img', 'convert', '-U', '-O', 'raw', image.path, path)
        with open(path, 'rb') as f, open(seed.target.path, 'r+b') as g:
            f.seek(piece.offset)
            g.seek(piece.offset)
            g.write(f.read(piece.length))

    def helper_calls_while_paused(self, machine):
        """Collect the names of functions that run in the helper meanwhile."""
        found = []

        def check():
            if machine.condition[0] == libvirt.VIR_DOMAIN_PAUSED:
                call = sys._getframe(1).f_locals['call']
                found.append(call.args[0].__name__)

        self.useFixture(fixtures.MockPatchObject(children, 'check', check))
        return found

    def steady_writes(self):
        """Have the guest write whenever a piece of its disks travels."""
        self.on_piece = lambda _seed, _piece: self.write(
            self.a.machines[samples.UUID], 'vda', 65536, 'm'
        )


class Seeded:
    """Makes a test of direct mode one of seeded mode."""

    mode: model.Mode = model.Mode.SEEDED
    layers = 2
