# SPDX-License-Identifier: Apache-2.0
"""Bad input gets one clear sentence, and changes nothing."""

import socket
import subprocess
import typing
from unittest import mock

import fixtures

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy import states
from nova_blockcopy.records import journal
from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import guest
from nova_blockcopy.tests.lab import scene


class RefusedTestCase(base.TestCase):
    made: typing.Any

    def _refused(self, kind, *words, **changes):
        """Plan and run alike are refused, with one sentence of reason."""
        for method in ('plan', 'run'):

            def attempt(name=method):
                made = self.made.migration(**changes)
                self.lab.a.call(getattr(made, name))

            error = self.assertRaises(kind, attempt)
            for word in words:
                self.assertIn(word, str(error))
            self.assertNotIn('\n', str(error))
        self.assertEqual([], self.hosts.litter())


class TestCheckpoints(RefusedTestCase):
    def test_they_would_be_forgotten(self):
        """libvirt forgets them when a guest leaves a host."""
        self.made = self.set_scene('qcow2')
        self.lab.a.run(
            *('virsh', 'checkpoint-create-as', self.made.guest.uuid, 'first')
        )
        self._refused(
            exception.GuestBusy,
            *('the checkpoint first', 'virsh checkpoint-delete'),
        )
        self.lab.a.run(
            *('virsh', 'checkpoint-delete', self.made.guest.uuid, 'first')
        )
        self.made.run(self.made.migration())
        self.assert_intact(self.made, self.lab.b)


class TestUnfit(RefusedTestCase):
    """The destination lacks something that the guest needs."""

    def test_the_directory_of_a_console(self):
        self.lab.a.run('mkdir', '/var/log/libvirt/own')
        xml = guest.Guest.xml
        more = (
            '<serial type="file"><source path="/var/log/libvirt/own/log"/>'
            '</serial>'
        )
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{guest.__name__}.Guest.xml',
                lambda made: xml(made).replace(
                    '</devices>', f'{more}</devices>'
                ),
            )
        )
        self.made = self.set_scene('block')
        self._refused(
            exception.GuestUnfit,
            *('lab-b', 'directory /var/log/libvirt/own does not exist'),
        )
        self.lab.b.run('mkdir', '/var/log/libvirt/own')
        self.made.run(self.made.migration())
        self.assert_intact(self.made, self.lab.b)


class TestRefused(RefusedTestCase):
    def setUp(self):
        super().setUp()
        self.made = self.set_scene('block', 'layered')

    def _bases(self, **paths):
        requests = self.made.base_requests()
        for target, path in paths.items():
            requests[target] = model.BaseRequest(path=str(path))
        return {'bases': requests}

    def _base(self, size=64 * base.MIB, name='other.img'):
        path = self.lab.b.images / name
        self.lab.b.run('truncate', '-s', str(size), str(path))
        return path

    def test_what_is_not_encrypted(self):
        self._refused(
            exception.PlaintextRefused,
            *('lab-a', 'export_tls', 'allow_plaintext'),
            allow_plaintext=False,
        )
        self._refused(
            exception.CertificateError,
            *('lab-a', '/nowhere/ca-cert.pem'),
            export_tls=True,
            export_tls_dir='/nowhere',
        )

    def test_what_is_asked_of_the_guest(self):
        self._refused(exception.GuestNotFound, 'nobody', guest='nobody')
        self._refused(
            exception.DiskNotFound, 'vdx', 'vda, vdb', **self._bases(vdx='/x')
        )
        requests = self.made.base_requests()
        self._refused(
            exception.DiskRefused,
            *('vdb', 'no base'),
            bases={'vda': requests['vda']},
        )
        self.assert_intact(self.made, self.lab.a)

    def test_options(self):
        self._refused(
            exception.InvalidOption, 'power of two', granularity=1000
        )
        self._refused(
            exception.InvalidOption,
            *('block_migration_bandwidth', '-1'),
            block_migration_bandwidth=-1,
        )
        self._refused(exception.UnknownDriver, 'libvirt, virsh', driver='ftp')
        moving = self.made.migration()
        self.assertRaises(exception.InvalidOption, moving.set_bandwidth, -1)
        self.assert_intact(self.made, self.lab.a)

    def test_bases(self):
        refused = exception.BaseRefused
        layered = self.made.bases['vdb']
        plain = self.lab.b.images / 'plain.qcow2'
        self.lab.b.run(
            *('qemu-img', 'create', '-q', '-f', 'qcow2', str(plain), '64M')
        )
        other = self.lab.b.images / 'other.qcow2'
        below = self._base(name='below.img')
        self.lab.b.run(
            *('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw'),
            *('-b', str(below), str(other)),
        )
        undeclared = self.lab.b.images / 'undeclared.qcow2'
        self.lab.b.run('cp', layered.path, str(undeclared))
        self.lab.b.run(
            *('qemu-img', 'rebase', '-u', '-f', 'qcow2', '-F', ''),
            *('-b', str(layered.image.backing.path), str(undeclared)),
            check=False,
        )
        cases = [
            ('does not exist', {'vda': '/nowhere'}),
            ('too small', {'vda': self._base(32 * base.MIB)}),
            ('too large', {'vda': self._base(96 * base.MIB, 'large.img')}),
            ('neither a block device nor', {'vda': '/dev/null'}),
            ('source image itself', {'vda': self.made.sources['vda'].path}),
            ('no backing file', {'vdb': plain}),
            ('differs from', {'vdb': other}),
        ]
        for words, paths in cases:
            self._refused(refused, words, **self._bases(**paths))
        self.assert_intact(self.made, self.lab.a)

    def test_a_base_in_use(self):
        """By a process, by a mount, or by a loop device."""
        loop = self.made.bases['vda']
        self._refused(
            exception.BaseRefused,
            *('in use', 'loop device'),
            **self._bases(vda=self.lab.b.images / loop.file.name),
        )
        with subprocess.Popen(
            ['sleep', '60'], stdin=open(loop.path)
        ) as holder:
            self.addCleanup(holder.kill)
            self._refused(exception.BaseRefused, 'in use', 'sleep')
            holder.kill()
        self.lab.b.run('mkfs.ext4', '-q', loop.path)
        point = self.lab.b.images / 'mounted'
        self.lab.b.run('mkdir', str(point))
        self.lab.b.run('mount', loop.path, str(point))
        try:
            self._refused(exception.BaseRefused, 'in use', 'mounted')
        finally:
            self.lab.b.run('umount', str(point))
            self.lab.b.run('rmdir', str(point))
        self.assert_intact(self.made, self.lab.a)

    def test_a_destination_that_cannot_be_reached(self):
        with socket.socket() as unused:
            unused.bind(('127.0.0.1', 0))
            port = unused.getsockname()[1]
            uri = f'qemu+tcp://{self.lab.b.address}:{port}/system'
            self._refused(
                exception.DestinationUnreachable,
                self.lab.b.address,
                destination=model.Endpoint(uri=uri),
            )
        self.assert_intact(self.made, self.lab.a)

    def test_a_way_back_that_is_closed(self):
        """It would be needed after hours of seeding, and then be missing."""
        uri = f'qemu+tcp://{self.lab.a.address}:16510/system'
        self._refused(
            exception.SourceUnreachable,
            *('lab-b', 'port 16510', 'could not come back'),
            home=model.Endpoint(uri=uri),
        )
        self.assert_intact(self.made, self.lab.a)

    def test_exports_that_are_out_of_reach(self):
        self._refused(
            exception.ExportsRefused,
            *('lab-b', '127.0.0.2', 'export_port_min'),
            export_address='127.0.0.2',
        )
        self._refused(
            exception.ExportsRefused,
            *('lab-a', 'export_address'),
            export_address='192.0.2.1',
        )
        self.assert_intact(self.made, self.lab.a)

    def _without_direct_io(self, at):
        """Mount a file system without O_DIRECT."""
        point = at.images / 'ramfs'
        at.run('mkdir', str(point))
        at.run('mount', '-t', 'ramfs', 'ramfs', str(point))
        self.addCleanup(at.run, 'rmdir', str(point))
        self.addCleanup(at.run, 'umount', str(point))
        return point

    def test_file_systems_without_direct_io(self):
        self._refused(
            exception.DeltaDirRefused,
            *('direct I/O', 'delta_dir'),
            delta_dir=str(self._without_direct_io(self.lab.a)),
            delta_min_free=0,
        )
        path = self._without_direct_io(self.lab.b) / 'base.img'
        self.lab.b.run('truncate', '-s', '64M', str(path))
        self._refused(
            exception.BaseRefused,
            *(str(path), 'direct I/O'),
            **self._bases(vda=path),
        )
        self.assert_intact(self.made, self.lab.a)

    def test_a_guest_that_is_there_already(self):
        connection = self.lab.b.connect()
        connection.defineXML(self.made.guest.xml())
        connection.close()
        self._refused(exception.GuestExists, self.made.guest.name, 'lab-b')

    def test_a_block_job_that_runs(self):
        target = self._base()
        self.lab.a.run('truncate', '-s', '64M', str(target))
        self.lab.a.run(
            *('virsh', 'blockcopy', self.made.guest.uuid, 'vda'),
            *('--dest', str(target), '--format', 'raw', '--reuse-external'),
            *('--transient-job', '--bandwidth', '1'),
        )
        self._refused(exception.GuestBusy, 'vda', 'block copy')
        self.lab.a.run(
            'virsh', 'blockjob', self.made.guest.uuid, 'vda', '--abort'
        )
        self.assert_intact(self.made, self.lab.a)

    def test_a_guest_that_does_not_run(self):
        self.lab.a.run('virsh', 'destroy', self.made.guest.uuid)
        self._refused(exception.GuestNotRunning, self.made.guest.name)

    def test_programs_that_are_too_old(self):
        here = self.lab.a.call(scene.versions, self.lab.a)
        for program, minimum in (
            ('libvirt', {'libvirt': here.libvirt + 1, 'hypervisor': 0}),
            ('QEMU', {'libvirt': 0, 'hypervisor': here.hypervisor + 1}),
        ):
            with mock.patch.object(plan, 'MINIMUM', plan.Versions(**minimum)):
                self._refused(
                    exception.VersionTooOld, program, 'too old', 'lab-a'
                )
        self.assert_intact(self.made, self.lab.a)

    def test_an_unfinished_migration(self):
        """Of the same guest, told of by a journal on either host."""
        for at in (self.lab.a, self.lab.b):
            options = scene.settings(at)
            kept = journal.Journal(options.journal_dir)
            record = journal.Record(
                migration='another one',
                guest=self.made.guest.uuid,
                name=self.made.guest.name,
                role=model.Role.SOURCE,
                mode=model.Mode.DIRECT,
                peer='somewhere',
                state=states.State.COPYING,
            )
            at.call(kept.open, record)
            error = self.assertRaises(
                exception.UnfinishedMigration,
                self.made.run,
                self.made.migration(),
            )
            self.assertIn(at.hostname, str(error))
            still = at.call(kept.find, record.guest)
            self.assertEqual('another one', still and still.migration)
            at.call(kept.close, record.guest)
        self.assert_intact(self.made, self.lab.a)
