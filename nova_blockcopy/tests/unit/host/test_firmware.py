# SPDX-License-Identifier: Apache-2.0
"""The state of a guest's firmware, carried from one host to the other."""

import base64
import zlib

import ddt
import fixtures

from nova_blockcopy.host import firmware
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

XML = (
    '<domain><os>{nvram}</os><devices><tpm model="tpm-crb">'
    '<backend type="{backend}"/></tpm></devices></domain>'
)


def packed(content):
    return base64.b64encode(zlib.compress(content)).decode()


@ddt.ddt
class TestFirmware(base.TestCase):
    def setUp(self):
        super().setUp()
        self.nvram = self.directory / 'guest.vars'
        self.use('there')

    def use(self, host):
        """Be on a host."""
        self.tpms = self.directory / host
        self.useFixture(
            fixtures.MonkeyPatch(f'{firmware.__name__}._TPMS', str(self.tpms))
        )

    def tpm(self, name):
        return self.tpms / samples.UUID / name

    def xml(self, backend='emulator'):
        nvram = f'<nvram>{self.nvram}</nvram>'
        return XML.format(nvram=nvram, backend=backend)

    def fill(self):
        self.nvram.write_bytes(b'variables')
        for name in ('tpm2/tpm2-00.permall', 'tpm2/.lock'):
            self.tpm(name).parent.mkdir(parents=True, exist_ok=True)
            self.tpm(name).write_text(name)

    @ddt.data(
        '<nvram>{}</nvram>',
        '<nvram type="file"><source file="{}"/></nvram>',
    )
    def test_there_and_here(self, element):
        self.fill()
        xml = XML.format(nvram=element.format(self.nvram), backend='emulator')
        files = firmware.read(samples.UUID, xml)
        self.assertEqual({'nvram', 'tpm2/tpm2-00.permall'}, set(files))
        self.use('here')
        self.nvram.write_bytes(b'old variables')
        firmware.write(samples.UUID, xml, firmware.unpack(files))
        self.assertEqual(b'variables', self.nvram.read_bytes())
        permanent = self.tpm('tpm2/tpm2-00.permall')
        self.assertEqual('tpm2/tpm2-00.permall', permanent.read_text())
        self.assertFalse(self.tpm('tpm2/.lock').exists())

    @ddt.data('x', 'eJw=', packed(b'x')[:-4], packed(bytes(2**27)))
    def test_what_no_host_has_packed(self, content):
        self.assertRaises(ValueError, firmware.unpack, {'nvram': content})

    def test_more_than_a_guest_has(self):
        many = dict.fromkeys(map(str, range(20)), packed(b''))
        self.assertRaises(ValueError, firmware.unpack, many)
        large = dict.fromkeys('ab', packed(bytes(2**26)))
        self.assertRaises(ValueError, firmware.unpack, large)
        del large['b']
        self.assertEqual(2**26, len(firmware.unpack(large)['a']))

    def test_a_guest_without_such_state(self):
        self.fill()
        for xml in (samples.domain(), ''):
            self.assertEqual({}, firmware.read(samples.UUID, xml))
        self.nvram.unlink()
        self.assertEqual(
            {}, firmware.read(samples.UUID, self.xml('passthrough'))
        )

    @ddt.data(
        *('../other/x', '/etc/passwd', 'tpm2/../x', 'tpm2/.lock'),
        *('tpm2', 'tpm3/x', 'tpm2/x/y'),
    )
    def test_a_name_that_no_tpm_has(self, name):
        """The other host cannot choose what is written."""
        self.fill()
        files = firmware.read(samples.UUID, self.xml())
        before = sorted(self.directory.rglob('*'))
        packed = files['tpm2/tpm2-00.permall']
        unpacked = firmware.unpack({name: packed})
        firmware.write(samples.UUID, self.xml(), unpacked)
        self.assertEqual(before, sorted(self.directory.rglob('*')))

    def test_state_for_a_guest_that_has_none(self):
        self.fill()
        files = firmware.read(samples.UUID, self.xml())
        self.use('here')
        unpacked = firmware.unpack(files)
        firmware.write(samples.UUID, samples.domain(), unpacked)
        self.assertFalse(self.tpms.exists())
