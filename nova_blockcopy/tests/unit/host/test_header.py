# SPDX-License-Identifier: Apache-2.0
"""Headers by a real qemu-img, and headers that somebody has altered."""

import os
import struct

import ddt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import deltas
from nova_blockcopy.host import header
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import base

MIB = base.MIB
TIB = MIB * MIB
#: Offsets of fields, by docs/interop/qcow2.rst.
VERSION, BACKING, BACKING_SIZE, BITS, SIZE = 4, 8, 16, 20, 24
CRYPT, SNAPSHOTS, INCOMPATIBLE, AUTOCLEAR = 32, 60, 72, 88
LENGTH, EXTENSIONS = 100, 112
DATA_FILE, BACKING_FORMAT, ENCRYPTION = 0x44415441, 0xE2792ACA, 0x0537BE77


class HeaderTestCase(base.ImageTestCase):
    def setUp(self):
        super().setUp()
        self.below = samples.image(self.path('below'), samples.FILE)
        self.top = model.overlay(self.path('top'), self.below)
        self.expected = deltas.arrived(MIB, [self.below.path])

    def delta(self, size=MIB):
        """The bytes of a delta as the engine makes it."""
        deltas.create(self.top, size, 30)
        with open(self.top.path, 'rb') as f:
            return bytearray(f.read())

    def judge(self, first, expected=None):
        header.judge('/image', bytes(first), expected or self.expected)

    def fault(self, first, expected=None):
        error = self.assertRaises(
            exception.HeaderError, self.judge, first, expected
        )
        said = str(error)
        self.assertIn('/image', said)
        self.assertIn('check the source host', said)
        return said

    def put(self, first, offset, kind, value):
        struct.pack_into(f'>{kind}', first, offset, value)
        return first

    def extended(self, first, kind, data):
        """Put another extension first."""
        extension = struct.pack('>II', kind, len(data)) + data
        first[EXTENSIONS:EXTENSIONS] = extension.ljust(
            len(extension) + -len(extension) % 8, b'\0'
        )
        (at,) = struct.unpack_from('>Q', first, BACKING)
        moved = at + len(extension) + -len(extension) % 8
        return self.put(first, BACKING, 'Q', moved)


@ddt.ddt
class TestOfDelta(HeaderTestCase):
    """A delta of the engine passes, and nothing else does."""

    @ddt.data(512, MIB, 8 * TIB, 8 * TIB + 512, 32 * TIB + 512)
    def test_one_of_the_engine(self, size):
        first = self.delta(size)
        expected = deltas.arrived(size, [self.below.path])
        self.judge(first, expected)
        self.judge(first[: deltas.cluster(size)], expected)
        found = header.parse(bytes(first))
        self.assertEqual(deltas.cluster(size), found.cluster)
        header.require(header.layers(self.top, {self.top.path: expected}))

    def test_one_that_was_written_to(self):
        self.delta()
        self.below = self.raw('below')
        self.run_command(
            *('qemu-io', '-f', 'qcow2', '-c', 'write 0 1M', self.top.path)
        )
        with open(self.top.path, 'rb') as f:
            self.judge(f.read())

    @ddt.data(
        (VERSION, 'I', 4, 'version 4'),
        (VERSION, 'I', 1, 'version 1'),
        (VERSION, 'I', 2, 'version 2'),
        (BITS, 'I', 8, '2^8'),
        (BITS, 'I', 22, '2^22'),
        (BITS, 'I', 2**32 - 1, f'2^{2**32 - 1}'),
        (BITS, 'I', 16, '65536 bytes instead of 4096'),
        (SIZE, 'Q', MIB + 512, f'{MIB + 512} bytes instead of {MIB}'),
        (CRYPT, 'I', 1, 'encrypted'),
        (CRYPT, 'I', 2, 'encrypted'),
        (SNAPSHOTS, 'I', 3, '3 internal snapshots'),
        (INCOMPATIBLE, 'Q', 1 << 0, 'incompatible features (0x1)'),
        (INCOMPATIBLE, 'Q', 1 << 1, 'corrupt'),
        (INCOMPATIBLE, 'Q', 1 << 2, 'external data file'),
        (INCOMPATIBLE, 'Q', 1 << 3, 'incompatible features (0x8)'),
        (INCOMPATIBLE, 'Q', 1 << 4, 'incompatible features (0x10)'),
        (INCOMPATIBLE, 'Q', 1 << 5, 'unknown incompatible features (0x20)'),
        (INCOMPATIBLE, 'Q', 1 << 63, 'unknown incompatible features'),
        (AUTOCLEAR, 'Q', 1 << 1, 'external data file'),
        (LENGTH, 'I', 96, '96 bytes'),
        (LENGTH, 'I', 109, '109 bytes'),
        (LENGTH, 'I', 4096 + 8, '4104 bytes'),
        (BACKING, 'Q', 0, "backing file is '' instead"),
        (BACKING, 'Q', 4095, 'outside of the header'),
        (BACKING, 'Q', 2**64 - 1, 'outside of the header'),
        (BACKING_SIZE, 'I', 0, 'outside of the header'),
        (BACKING_SIZE, 'I', 1024, 'outside of the header'),
        (EXTENSIONS + 4, 'I', 4000, 'longer than the header'),
    )
    @ddt.unpack
    def test_a_field_that_somebody_altered(self, offset, kind, value, reason):
        first = self.put(self.delta(), offset, kind, value)
        self.assertIn(reason, self.fault(first))

    @ddt.data(
        (DATA_FILE, 'external data file'),
        (ENCRYPTION, 'encrypted'),
    )
    @ddt.unpack
    def test_an_extension_that_leads_elsewhere(self, kind, reason):
        first = self.extended(self.delta(), kind, b'/etc/shadow')
        self.assertIn(reason, self.fault(first))

    def test_an_extension_that_qemu_may_ignore(self):
        self.judge(self.extended(self.delta(), 0x12345678, b'later'))

    def test_a_name_that_only_begins_as_expected(self):
        first = self.delta()
        for backing in (self.below.path[:-1], f'{self.below.path}x'):
            said = self.fault(first, deltas.arrived(MIB, [backing]))
            self.assertIn(f'instead of {backing!r}', said)

    def test_one_of_two_names(self):
        expected = deltas.arrived(MIB, ['/other', self.below.path])
        self.judge(self.delta(), expected)

    @ddt.data(0, 3, 71)
    def test_one_that_ends_early(self, length):
        self.assertIn('does not begin', self.fault(self.delta()[:length]))

    def test_another_magic(self):
        first = self.put(self.delta(), 0, 'I', 0)
        self.assertIn('does not begin', self.fault(first))

    @ddt.data(0o640, 0o604, 0o602, 0o700)
    def test_a_file_that_others_can_change(self, mode):
        self.delta()
        wanted = header.layers(self.top, {self.top.path: self.expected})
        header.require(wanted)
        os.chmod(self.top.path, mode)
        said = self.refused(header.require, wanted)
        self.assertIn('others could change', said)

    def test_a_link_to_a_file(self):
        self.delta()
        link = model.overlay(self.path('link'), self.below)
        os.symlink(self.top.path, link.path)
        wanted = header.layers(link, {link.path: self.expected})
        said = self.refused(header.require, wanted)
        self.assertIn('others could change', said)


@ddt.ddt
class TestOfOthers(HeaderTestCase):
    """Bases and images of this host may have what QEMU knows."""

    @ddt.data(
        ('compat=0.10',),
        ('lazy_refcounts=on',),
        ('extended_l2=on',),
        ('compression_type=zstd',),
        ('cluster_size=512',),
        ('cluster_size=2M',),
    )
    @ddt.unpack
    def test_one_that_qemu_makes(self, option):
        image = self.qcow2('image', '-o', option)
        expected = header.Expected(size_bytes=MIB, backing=())
        header.check(header.layers(image, {image.path: expected}))
        header.check(header.layers(image))

    def test_one_with_a_snapshot_and_a_bitmap(self):
        image = self.qcow2()
        self.qemu_img('snapshot', '-c', 'before', image.path)
        self.qemu_img('bitmap', '--add', image.path, 'map')
        header.check(header.layers(image))

    @ddt.data('data_file_raw=on', 'data_file_raw=off')
    def test_one_whose_data_is_elsewhere(self, raw):
        data = self.path('data')
        image = self.qcow2('image', '-o', f'data_file={data},{raw}')
        said = self.refused(header.check, header.layers(image))
        self.assertIn('external data file', said)

    def test_one_that_is_encrypted(self):
        image = self.qcow2(
            *('image', '--object', 'secret,id=s,data=x'),
            *('-o', 'encrypt.format=aes,encrypt.key-secret=s'),
        )
        said = self.refused(header.check, header.layers(image))
        self.assertIn('encrypted', said)

    def test_a_chain_that_ends_here_but_not_in_the_header(self):
        image = self.qcow2('image', '-u', '-b', '/etc/shadow', '-F', 'raw')
        said = self.refused(header.check, header.layers(image))
        self.assertIn("'/etc/shadow' instead of none", said)

    def test_a_base_that_is_completed(self):
        image = model.overlay(self.path('image'), self.below)
        deltas.create(image, MIB, 30)
        expected = header.completed(image, MIB)
        header.check(header.layers(image, {image.path: expected}))
        self.qemu_img(
            *('rebase', '-u', '-f', 'qcow2', '-F', 'qcow2'),
            *('-b', self.below.path, image.path),
        )
        said = self.refused(
            header.check, header.layers(image, {image.path: expected})
        )
        self.assertIn("b'qcow2' instead of raw", said)

    def test_a_raw_image_has_no_header(self):
        image = self.raw()
        self.assertEqual([[image.path, None]], header.layers(image))
        header.check(header.layers(image))

    def test_one_that_is_gone(self):
        said = self.refused(header.check, header.layers(self.top))
        self.assertIn(self.top.path, said)
        self.assertIn('cannot be read', said)

    def test_a_directory(self):
        os.mkdir(self.top.path)
        self.refused(header.check, header.layers(self.top))
