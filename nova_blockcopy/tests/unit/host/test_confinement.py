# SPDX-License-Identifier: Apache-2.0
"""The least rights with which a program opens its files."""

import os
import stat

import ddt

from nova_blockcopy.host import command
from nova_blockcopy.host import confinement
from nova_blockcopy.tests.unit import base

READ, WRITE = confinement.READ, confinement.READ | confinement.WRITE
NOVA, QEMU, DISK, KVM = 64057, 64055, 6, 64056


def a_file(right, mode, uid=0, gid=0, **options):
    return confinement.Object(
        right=right, mode=mode, uid=uid, gid=gid, **options
    )


def a_directory(mode, uid=0, gid=0):
    return a_file(confinement.SEARCH, mode, uid, gid)


@ddt.ddt
class TestDecide(base.TestCase):
    def decide(self, *objects):
        found = confinement.decide(objects)
        return found.user, found.groups, found.capabilities

    def test_no_file(self):
        self.assertEqual((confinement.NOBODY, (), ()), self.decide())

    def test_the_owner_is_enough(self):
        below = a_file(READ, 0o644, NOVA, NOVA)
        disk = a_file(WRITE, 0o600, QEMU, KVM)
        self.assertEqual((QEMU, (), ()), self.decide(below, disk))

    def test_the_owner_of_what_is_read_only(self):
        disk = a_file(READ, 0o600, QEMU, KVM)
        self.assertEqual((QEMU, (), ()), self.decide(disk))

    @ddt.data(READ, WRITE)
    def test_a_volume_of_root(self, right):
        volume = a_file(right, 0o660, 0, DISK)
        self.assertEqual(
            (confinement.NOBODY, (DISK,), ()), self.decide(volume)
        )

    def test_a_key_of_a_group(self):
        disk = a_file(WRITE, 0o600, QEMU, KVM)
        key = a_file(READ, 0o640, 0, KVM)
        self.assertEqual((QEMU, (KVM,), ()), self.decide(disk, key))

    def test_a_key_of_root_alone(self):
        disk = a_file(WRITE, 0o600, QEMU, KVM)
        key = a_file(READ, 0o600)
        self.assertEqual(
            (QEMU, (), ('dac_read_search',)), self.decide(disk, key)
        )

    def test_a_file_of_root_alone(self):
        delta = a_file(WRITE, 0o600)
        self.assertEqual((0, (), ()), self.decide(delta))

    def test_files_of_two_users(self):
        base = a_file(WRITE, 0o644, NOVA, NOVA)
        delta = a_file(WRITE, 0o600)
        self.assertEqual(
            (NOVA, (), ('dac_override',)), self.decide(base, delta)
        )

    def test_a_capability_that_root_itself_lacks(self):
        disk = a_file(WRITE, 0o600, QEMU, KVM)
        objects = (disk, a_file(READ, 0o600))
        found = confinement.decide(objects, ['dac_override'])
        self.assertEqual(('dac_override',), found.capabilities)
        found = confinement.decide(objects, [])
        self.assertEqual((QEMU, ()), (found.user, found.capabilities))

    def test_a_directory_that_the_owner_cannot_enter(self):
        disk = a_file(WRITE, 0o600, QEMU, KVM)
        self.assertEqual(
            (QEMU, (), ('dac_read_search',)),
            self.decide(a_directory(0o700), disk),
        )

    def test_a_directory_of_a_group(self):
        disk = a_file(WRITE, 0o600, QEMU, KVM)
        self.assertEqual(
            (QEMU, (NOVA,), ()),
            self.decide(a_directory(0o750, NOVA, NOVA), disk),
        )

    def test_a_group_may_have_less_than_all_others(self):
        disk = a_file(WRITE, 0o660, 0, DISK)
        below = a_file(READ, 0o604, 0, DISK)
        self.assertEqual(
            (confinement.NOBODY, (DISK,), ('dac_read_search',)),
            self.decide(disk, below),
        )

    def test_an_owner_may_have_less_than_the_group(self):
        disk = a_file(READ, 0o060, QEMU, KVM)
        self.assertEqual((confinement.NOBODY, (KVM,), ()), self.decide(disk))

    def test_an_access_list_tells_more_than_the_mode(self):
        disk = a_file(WRITE, 0o600, QEMU, KVM, acl=True)
        self.assertEqual((QEMU, (), ()), self.decide(disk))
        disk = a_file(WRITE, 0o660, 0, DISK, acl=True)
        self.assertEqual((0, (), ()), self.decide(disk))

    def test_the_launcher_keeps_no_more_than_is_needed(self):
        confined = confinement.Confinement(
            user=QEMU, capabilities=('dac_override',)
        )
        found = confinement.launcher(confined)
        self.assertEqual(0, found.user)
        self.assertEqual(
            {'setgid', 'setuid', 'setpcap', 'dac_override'},
            set(found.capabilities),
        )


class TestOf(base.TestCase):
    def setUp(self):
        super().setUp()
        self.file = self.directory / 'disk'
        self.file.touch(0o600)

    def looked_at(self, path):
        """What the kernel asks of the path, by directory or file."""
        return [
            (found.mode, found.right)
            for found in confinement._look(str(path), READ)
        ]

    def test_each_directory_on_the_way(self):
        self.directory.chmod(0o711)
        *above, own, file = self.looked_at(self.file)
        self.assertEqual((0o711, confinement.SEARCH), own)
        self.assertEqual((0o600, READ), file)
        self.assertEqual(len(self.directory.parents), len(above))

    def test_links_are_followed(self):
        there, hops = self.directory / 'there', self.directory / 'hops'
        for each, mode in ((there, 0o710), (hops, 0o701)):
            each.mkdir()
            each.chmod(mode)
        (there / 'disk').touch(0o640)
        (hops / 'second').symlink_to('../there')
        link = self.directory / 'link'
        link.symlink_to(hops / 'second' / 'disk')
        found = self.looked_at(link)
        self.assertIn((0o701, confinement.SEARCH), found)
        self.assertIn((0o710, confinement.SEARCH), found)
        self.assertEqual((0o640, READ), found[-1])

    def test_a_link_to_itself_ends(self):
        link = self.directory / 'link'
        link.symlink_to('link')
        self.assertTrue(self.looked_at(link))

    def test_a_file_that_is_not_there_does_not_count(self):
        gone = str(self.directory / 'gone')
        self.assertEqual(
            confinement.of([str(self.file)]),
            confinement.of([gone, str(self.file)]),
        )

    def test_an_access_list_is_seen(self):
        # the owner rw-, user 1234 r--, the group ---, the mask r--, others ---
        entries = (
            *((1, 6, -1), (2, 4, 1234)),
            *((4, 0, -1), (16, 4, -1), (32, 0, -1)),
        )
        value = (2).to_bytes(4, 'little') + b''.join(
            tag.to_bytes(2, 'little')
            + bits.to_bytes(2, 'little')
            + (number & 0xFFFFFFFF).to_bytes(4, 'little')
            for tag, bits, number in entries
        )
        os.setxattr(self.file, 'system.posix_acl_access', value)
        *_above, found = confinement._look(str(self.file), READ)
        self.assertTrue(found.acl)
        self.assertEqual(0o640, stat.S_IMODE(self.file.stat().st_mode))


class TestPrefix(base.TestCase):
    def test_a_program_gets_no_new_privileges(self):
        for confined in (confinement.KEPT, confinement.of()):
            said = command.run(
                'cat', '/proc/self/status', confined=confined, timeout=30
            )
            fields = dict(line.split(':\t', 1) for line in said.splitlines())
            self.assertEqual('1', fields['NoNewPrivs'])
            for name in ('CapPrm', 'CapEff', 'CapInh', 'CapAmb'):
                self.assertEqual(0, int(fields[name], 16))
