# SPDX-License-Identifier: Apache-2.0
"""UEFI variables and a TPM go there and back with their guest."""

import hashlib
import os

from nova_blockcopy import exception
from nova_blockcopy import states
from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import root


class FirmwareTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        for program in ('swtpm', 'swtpm_setup'):
            if root.which(program) is None:
                self.skipTest(f'the hosts have no {program}')

    def set_scene(self, *kinds, **options):
        made = super().set_scene(*kinds, firmware=True, **options)
        self.assertEqual({'vars', 'permall'}, set(self.state(made, 'a')))
        return made

    def state(self, made, name):
        """Checksums of the files on a host, by kind."""
        at = {each.name: each for each in self.lab.hosts}[name]
        found = {}
        nvram = at.outside(made.guest.nvram)
        tpm = at.outside(f'/var/lib/libvirt/swtpm/{made.guest.uuid}')
        for path in (nvram, *tpm.rglob('*.permall')):
            if path.exists():
                kind = path.suffix.removeprefix('.')
                content = path.read_bytes()
                found[kind] = hashlib.sha256(content).hexdigest()
        return found

    def change(self, made, at):
        """As the firmware of the guest would write a variable."""
        with at.outside(made.guest.nvram).open('r+b') as f:
            f.seek(0)
            f.write(os.urandom(512))


class TestFirmware(FirmwareTestCase):
    def test_there_and_back(self):
        made = self.set_scene('block', mode='direct')
        before = self.state(made, 'a')
        made.run(made.migration())
        self.assertEqual(before, self.state(made, 'b'))
        # libvirt leaves the UEFI variables, which are old from now on
        self.assertNotIn('permall', self.state(made, 'a'))
        back = made.reversed()
        back.empty_bases()
        back.run(back.migration())
        self.assertEqual(before, self.state(made, 'a'))
        self.assert_intact(back, self.lab.a)

    def test_a_guest_that_is_given_back(self):
        made = self.set_scene(
            'block', mode='direct', block_migration_bandwidth=24
        )
        before = self.state(made, 'a')

        def listen(now):
            if now.state is states.State.COPYING and now.disks:
                moving.abort()

        moving = made.migration(listen)
        self.assertRaises(exception.MigrationUndone, made.run, moving)
        self.assertEqual(before, self.state(made, 'a'))
        self.assert_intact(made, self.lab.a)

    def test_a_guest_that_ended_on_the_destination(self):
        """Its newest state is there, and the guest starts at home."""
        made = self.set_scene('block', mode='seeded')
        last: dict[str, str] = {}

        def listen(now):
            if now.state is states.State.COPYING and not last:
                self.lab.b.run('virsh', 'destroy', made.guest.uuid)
                self.change(made, self.lab.b)
                last.update(self.state(made, 'b'))

        self.assertRaises(
            exception.GuestEnded, made.run, made.migration(listen)
        )
        self.assertEqual({'vars', 'permall'}, set(last))
        self.assertEqual(last, self.state(made, 'a'))
        self.lab.a.run('virsh', 'start', made.guest.uuid)
        # its old state on the destination is in nobody's way
        for target in made.guest.targets:
            made.guest.log.wait_for_more(target, 1)
        before = self.state(made, 'a')
        made.run(made.migration())
        self.assertEqual(before, self.state(made, 'b'))
