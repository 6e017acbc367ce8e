# SPDX-License-Identifier: Apache-2.0
"""The versions of libvirt and QEMU."""

import ddt
import libvirt

from nova_blockcopy.tests.unit.cmd import base

_CHECK = 'libvirt and QEMU'
_SYNCHRONOUS = 'synchronous_writes = true'


@ddt.ddt
class TestVersions(base.CommandTestCase):
    @ddt.data(
        (7_009_000, 7_002_000, 'libvirt 7.9.0', '8.0.0'),
        (9_000_000, 6_001_001, 'QEMU 6.1.1', '6.2.0'),
    )
    @ddt.unpack
    def test_too_old(self, library, emulator, found, wanted):
        self.connection.library = library
        self.connection.emulator = emulator
        self.assert_only(
            self.check(self.file()), _CHECK, base.FAILURE, found, wanted
        )

    @ddt.data((10_000_008, True), (10_000_009, False), (7_002_000, False))
    @ddt.unpack
    def test_a_copy_that_begins_with_a_pause(self, emulator, pauses):
        self.connection.emulator = emulator
        said = self.check(self.file())
        self.assertEqual(base.SUCCESS, said.code)
        self.assertEqual(pauses, 'pauses each guest' in said.details[_CHECK])

    def test_synchronous_writes(self):
        self.assert_only(
            self.check(self.file(_SYNCHRONOUS)),
            *(_CHECK, base.WARNING, 'synchronous_writes', 'QEMU 7.2.0'),
        )
        self.connection.emulator = 8_000_000
        said = self.check(self.file(_SYNCHRONOUS))
        self.assertEqual(base.SUCCESS, said.code)

    def test_libvirt_does_not_answer(self):
        def refuse(_uri):
            raise libvirt.libvirtError('no socket')

        self.stub('libvirt.open', refuse)
        said = self.check(self.file())
        for each in (_CHECK, 'Security driver', 'User of QEMU'):
            self.assert_said(said, each, base.WARNING, 'no socket', 'as root')

    @ddt.data(
        ('', 'qemu:///system'),
        ('virt_type = lxc', 'lxc:///'),
        ('connection_uri = qemu:///session', 'qemu:///session'),
    )
    @ddt.unpack
    def test_it_is_the_libvirt_of_nova(self, text, wanted):
        asked = []

        def connect(uri):
            asked.append(uri)
            return self.connection

        self.stub('libvirt.open', connect)
        self.check(self.file(f'[libvirt]\n{text}'))
        self.assertEqual({wanted}, set(asked))
