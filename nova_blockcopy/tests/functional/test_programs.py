# SPDX-License-Identifier: Apache-2.0
"""The rights of each program, which are those in the table of the docs."""

import contextlib
import os
import shutil
import subprocess
import threading

import fixtures
import libvirt
import psutil

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.drivers import contract
from nova_blockcopy.drivers import virsh
from nova_blockcopy.host import certificates
from nova_blockcopy.host import checksums
from nova_blockcopy.host import confinement
from nova_blockcopy.host import container
from nova_blockcopy.host import deltas
from nova_blockcopy.host import images
from nova_blockcopy.host import scope
from nova_blockcopy.host import transfer
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.lab import certificates as pki
from nova_blockcopy.tests.lab import rights
from nova_blockcopy.tests.unit import base as unit
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import servers

MIB = 1024 * 1024
NOBODY = confinement.NOBODY
#: Users of this test: of nova-compute, of the guest's QEMU, and of no service.
NOVA, QEMU, STRANGER = 64057, 64055, 64059
#: Writes down the rights of the process, which then becomes the program.
_RECORD = """
cat /proc/$$/status >> {record}
echo >> {record}
exec {real} "$@"
"""
_SYSTEMD_RUN = """
cat /proc/$$/status >> {record}
echo >> {record}
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
_SECONDS = 60


class ProgramsTestCase(unit.TestCase):
    """Images of several owners, and programs that tell their rights."""

    def setUp(self):
        super().setUp()
        self.useFixture(servers.Orphans())
        self.directory.chmod(0o711)
        self.record = self.directory / 'record'
        self.record.touch()
        self.record.chmod(0o666)
        self.first = servers.free_port()
        self.exporter = servers.exporter(self.directory, self.first, 30)
        self.rows = rights.documented()

    def note(self, program, script=_RECORD):
        self.program(
            program,
            script.format(record=self.record, real=shutil.which(program)),
        )
        (self.directory / 'bin').chmod(0o755)

    def noted(self, owner=None):
        """The rights of each program that ran, which are as documented."""
        found = [
            rights.parse(each)
            for each in self.record.read_text().split('\n\n')[:-1]
        ]
        for each in found:
            self.check(each, owner)
        return found

    def check(self, found, owner=None):
        users = {
            'root': [0],
            'nobody': [NOBODY],
            'owner': [] if owner is None else [owner],
            'nova-compute': [os.geteuid()],
        }
        row = self.rows[found.program]
        self.assertEqual([], row.differences(found, users))

    def assert_noted(self, program, user, *capabilities, owner=None):
        found = self.noted(user if owner is None else owner)
        self.assertEqual(
            [(program, user, frozenset(capabilities))],
            [(each.program, each.user, each.capabilities) for each in found],
        )

    def own(self, name, owner, mode=0o600, qcow2=False):
        path = self.directory / name
        with path.open('wb') as f:
            f.truncate(MIB)
        if qcow2:
            subprocess.run(
                [
                    *(
                        'qemu-img',
                        'create',
                        '-q',
                        '-f',
                        'qcow2',
                        str(path),
                        '1M',
                    ),
                ],
                check=True,
            )
        path.chmod(mode)
        os.chown(path, owner, owner)
        return samples.image(
            str(path),
            samples.FILE,
            samples.QCOW2 if qcow2 else samples.RAW,
        )

    def serve(self, image, **options):
        name = f'functional-{os.getpid()}-{self.first}'
        started = self.exporter.start(servers.planned(name, **options), image)
        self.addCleanup(self.exporter.stop, [started])
        return started


class TestPrograms(ProgramsTestCase):
    def test_a_header_is_read(self):
        image = self.own('disk', QEMU, qcow2=True)
        self.note('qemu-img')
        images.info(image.path)
        self.assert_noted('qemu-img', QEMU)

    def test_space_is_reserved(self):
        image = self.own('disk', QEMU)
        self.note('fallocate')
        images.reserve(image.path, 2 * MIB, 30)
        self.assert_noted('fallocate', QEMU)

    def test_a_container_is_measured(self):
        image = self.own('disk', QEMU, qcow2=True)
        header = images.info(image.path)
        self.note('qemu-img')
        container._fully_written(header, 30)
        self.assert_noted('qemu-img', NOBODY)

    def test_content_is_compared(self):
        below = self.own('below', NOVA, 0o644)
        top = self.own('top', QEMU, qcow2=True)
        image = samples.layered(top.path, below.path)
        self.note('qemu-img')
        whole = model.Extent(offset=0, length=MIB)
        found = checksums.of(
            image, [whole], threading.Event(), by_content=True, timeout=30
        )
        self.assertEqual(1, len(found))
        self.assert_noted('qemu-img', QEMU)

    def test_a_delta_is_made(self):
        below = self.own('below', QEMU)
        folder = self.directory / 'deltas'
        deltas.prepare(str(folder))
        self.note('qemu-img')
        deltas.create(model.overlay(str(folder / 'top'), below), MIB, 30)
        self.assert_noted('qemu-img', 0)

    def test_a_delta_of_the_guest_is_merged(self):
        below = self.own('below', QEMU)
        top = self.own('top', QEMU, qcow2=True)
        image = samples.layered(top.path, below.path)
        self.note('qemu-img')
        deltas.stand_on(image, 30)
        deltas.commit(image, below, 30)
        found = self.noted(QEMU)
        self.assertEqual(
            [('qemu-img', QEMU, frozenset())] * 2,
            [(each.program, each.user, each.capabilities) for each in found],
        )

    def test_a_delta_of_root_is_merged(self):
        below = self.own('below', NOVA, 0o644)
        top = self.own('top', 0, qcow2=True)
        image = samples.layered(top.path, below.path)
        deltas.stand_on(image, 30)
        self.note('qemu-img')
        deltas.commit(image, below, 30)
        self.assert_noted('qemu-img', NOVA, 'CAP_DAC_OVERRIDE')

    def test_a_piece_is_copied(self):
        source = self.own('disk', QEMU)
        target = self.own('base', NOVA, 0o644)
        seed = model.Seed(
            disk='vda',
            source=source,
            target=target,
            export=self.serve(source),
            extents=(),
            size_bytes=MIB,
        )
        self.note('qemu-img')
        transfer.run(
            seed,
            model.Extent(offset=0, length=MIB),
            rate=0,
            zeroed=False,
            encryption=None,
            timeout=30,
        )
        self.assert_noted('qemu-img', NOVA)

    def test_a_certificate_is_looked_at(self):
        made = self.directory / 'pki'
        authority = pki.Authority(self.directory / 'authority')
        authority.certify(made, 'host-a', '127.0.0.1')
        self.note('openssl')
        certificates._look('host-a', str(made / 'server-cert.pem'))
        self.assert_noted('openssl', NOBODY)

    def test_virsh(self):
        self.note('virsh')
        driver = virsh.VirshCopyDriver(
            contract.Access(
                uri='test:///default',
                connect=lambda: libvirt.open('test:///default'),
                timeout=30,
            )
        )
        with contextlib.suppress(exception.DriverError):
            driver.set_speed('test', 'vda', 1)
        self.assert_noted('virsh', os.geteuid())


class TestExporter(ProgramsTestCase):
    def served(self, image, **options):
        started = self.serve(image, **options)
        found = rights.of(started.pid)
        self.check(found, os.stat(image.path).st_uid)
        return found

    def test_the_image_of_a_guest(self):
        found = self.served(self.own('disk', QEMU), writable=True)
        self.assertEqual(
            (QEMU, frozenset(), frozenset()),
            (found.user, found.groups, found.capabilities),
        )

    def test_the_volume_of_a_group(self):
        image = self.own('disk', 0, 0o660)
        os.chown(image.path, 0, QEMU)
        found = self.served(image, writable=True)
        self.assertEqual(
            (NOBODY, {QEMU}, frozenset()),
            (found.user, found.groups, found.capabilities),
        )

    def test_the_file_of_root(self):
        found = self.served(self.own('disk', 0), writable=True)
        self.assertEqual((0, frozenset()), (found.user, found.capabilities))

    def test_layers_of_two_users(self):
        below = self.own('below', NOVA)
        top = self.own('top', QEMU, qcow2=True)
        image = samples.layered(top.path, below.path)
        found = self.served(image, content=True)
        self.assertEqual(
            (QEMU, {'CAP_DAC_READ_SEARCH'}), (found.user, found.capabilities)
        )

    def test_its_start(self):
        folder = self.directory / 'run'
        folder.mkdir()
        comm = self.directory / 'comm'
        comm.write_text('systemd\n')
        for name, value in (('_BOOTED', str(folder)), ('_FIRST', comm)):
            self.useFixture(fixtures.MockPatchObject(scope, name, value))
        self.note('systemd-run', _SYSTEMD_RUN)
        self.served(self.own('disk', QEMU))
        check, start = self.noted()
        self.assertEqual(frozenset(), check.capabilities)
        self.assertEqual(
            {'CAP_SETGID', 'CAP_SETPCAP', 'CAP_SETUID'}, start.capabilities
        )


class TestImpostor(ProgramsTestCase):
    """A process of another user has the program and the arguments."""

    def start(self, *prefix):
        image = self.own('theirs', STRANGER)
        name = f'functional-{os.getpid()}-{self.first}'
        process = subprocess.Popen(
            [
                *('setpriv', f'--reuid={STRANGER}', f'--regid={STRANGER}'),
                *('--clear-groups', '--', *prefix),
                *('qemu-nbd', '--persistent', '--export-name', name),
                *('--bind', '127.0.0.1', '--port', str(servers.free_port())),
                *('--format', 'raw', image.path),
            ]
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

        def runs():
            return psutil.Process(process.pid).name() == 'qemu-nbd'

        self.assertTrue(waiting.until(runs, timeout=_SECONDS))
        return process, servers.planned(name)

    def assert_ignored(self, *prefix):
        process, planned = self.start(*prefix)
        self.assertFalse(self.exporter.alive(planned))
        self.exporter.stop([planned])
        self.assertIsNone(process.poll())
        own = self.serve(self.own('disk', QEMU))
        self.assertNotEqual(process.pid, own.pid)
        self.exporter.stop([own])
        self.assertFalse(self.exporter.alive(own))
        self.assertIsNone(process.poll())

    def test_it_is_another_users(self):
        self.assert_ignored()

    def test_it_has_no_new_privileges(self):
        self.assert_ignored('setpriv', '--no-new-privs', '--')

    def test_it_is_confined_in_a_namespace_of_its_own(self):
        self.assert_ignored(
            *('unshare', '--user', '--map-root-user', 'setpriv'),
            *('--no-new-privs', '--inh-caps=-all', '--bounding-set=-all'),
            '--',
        )
