# SPDX-License-Identifier: Apache-2.0
"""What two hosts tell each other, inside Nova's own data."""

import ddt

from nova_blockcopy import model
from nova_blockcopy.nova import handshake
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import samples

BASES = {
    '/dev/there/disk': model.BaseRequest(
        path='/dev/here/disk', format=samples.RAW
    ),
    '/i/disk.eph0': model.BaseRequest(
        path='/j/disk.eph0', format=samples.QCOW2, whole=True
    ),
}
AGREED = handshake.Terms(agreed=True, bases=BASES)


@ddt.ddt
class TestHandshake(base.TestCase):
    def test_nothing_was_said(self):
        for data in (
            base.migrate_data(),
            base.migrate_data(bdms=[]),
            base.migrate_data(bdms=[base.volume_entry()]),
        ):
            self.assertIsNone(handshake.read(data))
            self.assertFalse(handshake.agreed(data))

    def test_an_offer_is_no_agreement(self):
        data = base.migrate_data()
        handshake.write(data, handshake.Terms())
        self.assertEqual(handshake.Terms(), handshake.read(data))
        self.assertFalse(handshake.agreed(data))

    def test_all_of_it_survives_its_way_through_novas_services(self):
        data = base.migrate_data(bdms=[base.volume_entry()])
        handshake.write(data, AGREED)
        arrived = base.travelled(base.travelled(data))
        self.assertEqual(AGREED, handshake.read(arrived))
        self.assertTrue(handshake.agreed(arrived))
        self.assertTrue(arrived.block_migration)

    def test_the_newest_stands_and_volumes_stay(self):
        data = base.migrate_data(bdms=[base.volume_entry()])
        handshake.write(data, handshake.Terms())
        handshake.write(data, AGREED)
        volume, ours = data.bdms
        self.assertEqual(base.VOLUME, volume.serial)
        self.assertEqual(
            {'serial': base.VOLUME, 'data': {'device_path': '/x'}},
            volume.connection_info,
        )
        self.assertEqual(handshake.SERIAL, ours.serial)
        self.assertEqual(AGREED, handshake.read(data))

    def test_an_entry_has_all_that_nova_reads_of_one(self):
        data = base.migrate_data()
        handshake.write(data, AGREED)
        (entry,) = base.travelled(data).bdms
        self.assertEqual(
            {'bus': '', 'dev': '', 'type': ''}, entry.as_disk_info()
        )
        self.assertNotIn('serial', entry.connection_info)

    @ddt.data(0, 2, None, '1')
    def test_another_version_is_not_understood(self, version):
        data = base.migrate_data()
        handshake.write(data, AGREED)
        entry = data.bdms[0]
        entry.connection_info = {
            **entry.connection_info,
            'version': version,
            'surprise': True,
        }
        arrived = base.travelled(data)
        self.assertIsNone(handshake.read(arrived))
        self.assertFalse(handshake.agreed(arrived))
