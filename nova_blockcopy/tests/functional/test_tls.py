# SPDX-License-Identifier: Apache-2.0
"""Exports by TLS: for the destination, by its certificate, and nobody else."""

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import states
from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import certificates


class TestTls(base.ModeTestCase):
    def _set(self, *kinds, **options):
        return self.set_scene(
            *kinds, export_tls=True, allow_plaintext=False, **options
        )

    def test_only_the_destination_reaches_the_disks(self):
        made = self._set('block', 'layered')
        moving = made.migration()
        record = made.home.call(moving.run, states.State.SWITCHING)
        arrived = self.lab.b.connect().lookupByName(made.guest.name)
        disks = domxml.disks(arrived.XMLDesc())
        self.assertEqual(
            ['vda', 'vdb'], sorted({each.disk for each in record.exports})
        )
        for move in record.moves:
            exports = [e for e in record.exports if e.disk == move.disk]
            self.assertEqual(1 if self.mode == 'direct' else 2, len(exports))
            self.assertTrue(domxml.at_exports(disks[move.disk], move, exports))
            for export in exports:
                self._assert_guarded(export)
        made.run(moving)
        self.assert_intact(made, self.lab.b)

    def test_a_guest_goes_home(self):
        made = self._set('block', 'layered', block_migration_bandwidth=24)

        def abort(now):
            if now.state is states.State.COPYING and now.disks:
                self.assertTrue(moving.abort())

        moving = made.migration(abort)
        undone = self.assertRaises(exception.MigrationUndone, made.run, moving)
        self.assertIsInstance(undone.__cause__, exception.Aborted)
        self.assert_intact(made, self.lab.a)

    def test_a_certificate_for_another_address(self):
        made = self._set('block')
        here = self.lab.a
        self.lab.certify(here, '192.0.2.9')
        self.addCleanup(self.lab.certify, here, here.address)
        undone = self.assertRaises(
            exception.MigrationUndone, made.run, made.migration()
        )
        self.assertIsInstance(
            undone.__cause__,
            (exception.SwitchoverError, exception.SeedFailed),
        )
        self.assertIn('ertificate does not match', str(undone))
        self.assert_intact(made, self.lab.a)

    def _assert_guarded(self, export):
        there = self.lab.b.home
        trusting, other = there / 'trusting', there / 'other'
        # a console of the same host, say
        self.lab.authority.certify(
            self.lab.b.outside(other),
            self.lab.b.hostname,
            self.lab.b.address,
            subject=f'/O={self.lab.b.hostname}/CN=console',
        )
        strangers = certificates.Authority(self.lab.directory / 'strangers')
        own = self.lab.b.outside(there / 'stranger')
        strangers.certify(own, self.lab.b.hostname, self.lab.b.address)
        authority = self.lab.b.certificates / 'ca-cert.pem'
        self.lab.b.run('mkdir', '-p', str(trusting))
        for directory in (trusting, there / 'stranger'):
            self.lab.b.run('cp', str(authority), str(directory))
        self.assertTrue(self._reaches(export, self.lab.b.certificates))
        self.assertFalse(self._reaches(export))
        self.assertFalse(self._reaches(export, other))
        self.assertFalse(self._reaches(export, trusting))
        self.assertFalse(self._reaches(export, there / 'stranger'))

    def _reaches(self, export, directory=None):
        """Whether a client with what is in a directory can read it."""
        where = (
            f'driver=nbd,host={export.address},port={export.port},'
            f'export={export.name}'
        )
        argv = ['qemu-img', 'info', '--image-opts', where]
        if directory is not None:
            credentials = (
                f'tls-creds-x509,id=tls,endpoint=client,dir={directory}'
            )
            argv[2:] = (
                *('--object', credentials),
                *('--image-opts', f'{where},tls-creds=tls'),
            )
        done = self.lab.b.run(*argv, check=False)
        return done.returncode == 0
