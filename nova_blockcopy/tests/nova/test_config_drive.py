# SPDX-License-Identifier: Apache-2.0
"""The config drive, on its way from one host to the other."""

import ddt

from nova_blockcopy import exception
from nova_blockcopy.nova import config_drive
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import samples


@ddt.ddt
class TestConfigDrive(base.TestCase):
    CONTENT = bytes(range(256)) * 4

    def setUp(self):
        super().setUp()
        self.folder = self.instances / samples.UUID
        self.folder.mkdir()
        self.place = self.folder / 'disk.config'
        source = self.directory / 'drive'
        source.write_bytes(self.CONTENT)
        self.packed = config_drive.pack(str(source))

    @ddt.data(0, 10, 1024, 4096)
    def test_it_is_filled_in(self, size):
        """Whatever size the file is that Nova left."""
        self.place.write_bytes(b'\xff' * size)
        self.place.chmod(0o640)
        config_drive.write(samples.UUID, self.packed)
        self.assertEqual(self.CONTENT, self.place.read_bytes())
        self.assertEqual(0o640, self.place.stat().st_mode & 0o777)

    def test_no_place_was_made_for_it(self):
        error = self.assertRaises(
            exception.PeerError,
            config_drive.write,
            samples.UUID,
            self.packed,
        )
        self.assertIn(str(self.place), str(error))
        self.assertEqual([], list(self.folder.iterdir()))

    def test_nobody_can_write_elsewhere(self):
        outside = self.directory / 'disk.config'
        outside.write_bytes(b'kept')
        self.assertRaises(
            exception.PeerError,
            config_drive.write,
            '../../' + self.directory.name,
            self.packed,
        )
        self.assertEqual(b'kept', outside.read_bytes())

    def test_it_travels_as_a_message(self):
        self.place.write_bytes(b'')
        engine = self.service()
        engine.expected.note(samples.UUID, base.THERE, [str(self.place)])
        self.assertEqual({}, self.send(engine))
        self.assertEqual(self.CONTENT, self.place.read_bytes())

    def test_a_guest_that_is_not_expected_keeps_its_own(self):
        """Its host may be another one's victim."""
        self.place.write_bytes(b'own')
        answer = self.send(self.service())
        self.assertIn('not prepared', answer['error']['message'])
        self.assertEqual(b'own', self.place.read_bytes())

    def send(self, engine):
        return engine.answer(
            {
                'operation': 'config_drive',
                'guest': samples.UUID,
                'content': self.packed,
            }
        )

    def test_a_failure_travels_back(self):
        engine = self.service()
        engine.expected.note(samples.UUID, base.THERE, [str(self.folder)])
        answer = self.send(engine)
        self.assertEqual('PeerError', answer['error']['class'])
