# SPDX-License-Identifier: Apache-2.0
"""Messages of a source that has been taken over, or is wrong."""

import dataclasses

import ddt

from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy.migration.destination import claims
from nova_blockcopy.model import Extent
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

SIZE = 1000
RAW = samples.image('/dev/vg/base')
LAYERED = samples.layered('/top', '/below')


@ddt.ddt
class TestSeeds(base.TestCase):
    def check(self, to=RAW, options=None, **changes):
        move = dataclasses.replace(
            samples.move('vda', base=to), size_bytes=SIZE
        )
        values = {
            'disk': 'vda',
            'source': samples.image('/dev/vg/source'),
            'target': to,
            'export': samples.export(),
            'extents': (Extent(offset=0, length=SIZE),),
            'size_bytes': SIZE,
            **changes,
        }
        claims.accepted(
            model.Seed(**values),
            samples.record(moves=(move,)),
            samples.settings(
                self.directory,
                **{'export_address': '192.0.2.2', **(options or {})},
            ),
        )

    @ddt.data(SIZE, 1024)
    def test_an_export_of_the_disk(self, size):
        self.check(size_bytes=size)

    @ddt.data({}, {'delta': True})
    def test_a_qcow2_file_has_a_length_of_its_own(self, changes):
        for size in (SIZE, 5 * SIZE):
            self.check(LAYERED, size_bytes=size, **changes)

    @ddt.data(
        ('another disk', {'disk': 'vdx'}, 'does not move'),
        ('a way out', {'disk': '../../etc/shadow'}, 'does not move'),
        ('encrypted', {'export': samples.export(tls=True)}, 'export_tls'),
        ('too short', {'size_bytes': SIZE - 1, 'extents': ()}, 'has 1000'),
        ('too long', {'size_bytes': 1025}, 'has 1000'),
        (
            'the content of another length',
            {'export': samples.content(), 'to': LAYERED, 'size_bytes': 2000},
            'has 1000',
        ),
        (
            'an extent beyond the end',
            {'extents': (Extent(offset=1, length=SIZE),)},
            'ends at 1001',
        ),
        (
            'a delta by its content',
            {'delta': True, 'export': samples.content()},
            'by its content',
        ),
    )
    @ddt.unpack
    def test_refused(self, _case, changes, reason):
        error = self.assertRaises(exception.PeerError, self.check, **changes)
        self.assertIn(reason, str(error))

    def test_plain_text_where_this_host_encrypts(self):
        error = self.assertRaises(
            exception.PeerError, self.check, options={'export_tls': True}
        )
        self.assertIn('export_tls', str(error))

    @ddt.data(
        *('127.0.0.1', '127.8.9.1', '::1', 'localhost', 'x.localhost.'),
        *('0x7f000001', '::ffff:127.0.0.1', '0.0.0.0', '::'),
        *('169.254.169.254', '0xa9fea9fe', 'fe80::1', '224.0.0.1'),
    )
    def test_an_export_at_a_service_of_this_host(self, address):
        export = samples.export(address=address)
        error = self.assertRaises(
            exception.PeerError, self.check, export=export
        )
        self.assertIn(f'{address} cannot be the address', str(error))

    @ddt.data('192.0.2.9', '2001:db8::9', 'host-b.example.org', '0xstorage')
    def test_an_export_at_another_host(self, address):
        self.check(export=samples.export(address=address))

    def test_a_lab_on_one_host(self):
        self.check(
            export=samples.export(address='127.0.0.1'),
            options={'export_address': '127.0.0.1'},
        )

    @ddt.data(22, 16514, 49215, 49344, -1, 0)
    def test_a_port_of_another_service(self, port):
        error = self.assertRaises(
            exception.PeerError,
            self.check,
            export=samples.export(port=port),
        )
        self.assertIn(f'port {port} is not for exports', str(error))


class TestParts(base.TestCase):
    UNIT = Extent(offset=0, length=extents.UNIT)

    def test_as_many_as_a_message_has(self):
        claims.check_parts((self.UNIT,) * extents.BATCH)
        claims.check_parts(())

    def test_a_part_that_fills_the_memory_of_root(self):
        part = Extent(offset=0, length=2**30)
        self.assertRaises(exception.PeerError, claims.check_parts, (part,))

    def test_more_parts_than_a_message_has(self):
        parts = (self.UNIT,) * (extents.BATCH + 1)
        self.assertRaises(exception.PeerError, claims.check_parts, parts)
