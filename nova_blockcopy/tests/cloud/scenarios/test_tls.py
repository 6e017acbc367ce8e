# SPDX-License-Identifier: Apache-2.0
"""Nova's native TLS encrypts the disks too, with a key that is root's."""

import typing

from nova_blockcopy import domxml
from nova_blockcopy import model
from nova_blockcopy.tests.cloud.scenarios import ends


class TestTls(ends.EndsTestCase):
    options: typing.ClassVar = {
        'libvirt': {
            **ends.EndsTestCase.options['libvirt'],
            'live_migration_with_native_tls': True,
        },
        'blockcopy': {'allow_plaintext': False},
    }

    def test_there_and_back(self):
        guest = self.moving('copying')
        with self.held(guest):
            self._assert_exports_are_encrypted(guest)
        self.assertEqual('completed', guest.wait_for_migration().status)
        self.assert_intact(guest, self.cloud.b)
        self.move(guest, self.cloud.a)

    def _assert_exports_are_encrypted(self, guest):
        disks = domxml.disks(self.cloud.b.domain(guest.uuid).XMLDesc())
        exports = [
            disk.source
            for disk in disks.values()
            if isinstance(disk.source, model.NetworkSource)
        ]
        self.assertNotEqual([], exports)
        self.assertEqual({True}, {export.tls for export in exports})
