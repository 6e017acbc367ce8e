# SPDX-License-Identifier: Apache-2.0
"""Checksums of parts of real images, by their bytes and by their content."""

import hashlib
import subprocess
import threading

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import checksums
from nova_blockcopy.host import images
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import base

MIB = base.MIB


class ChecksumTestCase(base.ImageTestCase):
    def setUp(self):
        super().setUp()
        self.cancelled = threading.Event()

    def checksums(self, image, *pairs, by_content=False):
        return checksums.of(
            image,
            [model.Extent(offset=o, length=n) for o, n in pairs],
            self.cancelled,
            by_content=by_content,
            timeout=30,
        )


class TestOfBytes(ChecksumTestCase):
    def setUp(self):
        super().setUp()
        self.image = self.raw(content=b'x' * 4096 + b'y' * 4096)

    def test_each_part_has_its_own(self):
        one, two, three = self.checksums(
            self.image, (0, 4096), (4096, 4096), (0, 4096)
        )
        self.assertEqual(one, three)
        self.assertNotEqual(one, two)
        self.assertEqual(hashlib.sha256(b'x' * 4096).hexdigest(), one)

    def test_on_request_it_ends(self):
        self.cancelled.set()
        self.assertRaises(
            exception.Aborted, self.checksums, self.image, (0, 4096)
        )

    def test_one_that_is_not_there(self):
        gone = samples.image(self.path('gone'))
        said = self.refused(self.checksums, gone, (0, 1))
        self.assertIn('does not exist', said)


class TestOfContent(ChecksumTestCase):
    """The same data has the same checksums in whatever it is kept."""

    PARTS = ((0, MIB), (MIB, MIB), (2 * MIB, 4096), (3 * MIB, MIB))

    def setUp(self):
        super().setUp()
        below = self.raw('below', b'b' * (2 * MIB), 4 * MIB)
        self.image = self.qcow2(
            *('top', '-b', below.path, '-F', 'raw'),
            size=4 * MIB,
            backing=below,
        )
        self.write('w', MIB, 4096)

    def write(self, letter, offset, length):
        self.run_command(
            *('qemu-io', '-f', 'qcow2', '-c'),
            *(f'write -P {ord(letter)} {offset} {length}', self.image.path),
        )

    def of(self, image):
        return self.checksums(image, *self.PARTS, by_content=True)

    def converted(self, format_):
        path = self.path(f'other.{format_}')
        self.qemu_img('convert', '-O', format_, self.image.path, path)
        return images.describe(path, format_)

    def test_of_all_layers(self):
        with open(self.converted(samples.RAW).path, 'rb') as f:
            content = f.read()
        self.assertEqual(
            [
                hashlib.sha256(content[o : o + n]).hexdigest()
                for o, n in self.PARTS
            ],
            self.of(self.image),
        )

    def test_of_other_formats(self):
        for format_ in (samples.RAW, samples.QCOW2):
            self.assertEqual(
                self.of(self.image), self.of(self.converted(format_))
            )

    def test_a_difference_is_in_its_part_only(self):
        before = self.of(self.image)
        self.write('d', 3 * MIB + 65536, 512)
        after = self.of(self.image)
        self.assertEqual(before[:3], after[:3])
        self.assertNotEqual(before[3], after[3])

    def test_of_one_that_a_guest_has_open(self):
        before = self.of(self.image)
        with subprocess.Popen(
            ['qemu-io', '-f', 'qcow2', self.image.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as writer:
            assert writer.stdin and writer.stdout
            writer.stdin.write(b'length\n')
            writer.stdin.flush()
            writer.stdout.readline()  # it has the lock
            self.assertEqual(before, self.of(self.image))
            writer.stdin.close()

    def test_on_request_it_ends(self):
        self.cancelled.set()
        self.assertRaises(exception.Aborted, self.of, self.image)

    def test_a_layer_that_is_not_there(self):
        (self.directory / 'below').unlink()
        said = self.refused(self.of, self.image)
        self.assertIn(self.image.path, said)
        self.assertIn('below', said)
