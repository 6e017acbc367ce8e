# SPDX-License-Identifier: Apache-2.0
"""The last looks before a switchover: at caches, and at exports."""

import ddt

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy.migration.source import switch_over
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples


@ddt.ddt
class TestCheckExported(base.TestCase):
    moves = (samples.move('vda'), samples.move('vdb'))
    exports = {  # noqa: RUF012 - never changed
        'vda': (samples.export('vda', 1001),),
        'vdb': (samples.export('vdb', 1002), samples.content('vdb', 1003)),
    }

    def setUp(self):
        super().setUp()
        self.xml = domxml.point_at_exports(
            samples.domain(samples.disk_xml('vda'), samples.disk_xml('vdb')),
            self.moves,
            self.exports,
        )

    def test_every_disk_at_its_exports(self):
        switch_over.check_exported(self.xml, self.moves, self.exports)

    @ddt.data(
        ('port="1002"', 'port="1001"'),
        ('export-of-vdb', 'export-of-vda'),
        ('port="1003"', 'port="1002"'),
        ('content-of-vdb', 'content-of-vda'),
        ('<backingStore type="network">', '<backingStore type="volume">'),
        ('192.0.2.1', '192.0.2.2'),
        ('protocol="nbd"', 'protocol="rbd"'),
        ('dev="vdb"', 'dev="vdc"'),
    )
    @ddt.unpack
    def test_any_other_place_is_refused(self, good, bad):
        self.assertIn(good, self.xml)
        error = self.assertRaises(
            exception.SwitchoverError,
            switch_over.check_exported,
            self.xml.replace(good, bad),
            self.moves,
            self.exports,
        )
        self.assertIn('guest', str(error))

    def test_a_disk_that_is_still_local_is_refused(self):
        xml = samples.domain(samples.disk_xml('vda'), samples.disk_xml('vdb'))
        error = self.assertRaises(
            exception.SwitchoverError,
            switch_over.check_exported,
            xml,
            self.moves,
            self.exports,
        )
        self.assertIn('vda', str(error))
