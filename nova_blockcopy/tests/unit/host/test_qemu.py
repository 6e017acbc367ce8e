# SPDX-License-Identifier: Apache-2.0
"""Names of images that QEMU could take for something else."""

import threading

import ddt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import checksums
from nova_blockcopy.host import deltas
from nova_blockcopy.host import export
from nova_blockcopy.host import images
from nova_blockcopy.host import qemu
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import base

MIB = base.MIB
ODD = (
    'nbd:localhost:1',
    'json:{"driver":"nbd"}',
    '--help',
    'a,b=c',
    'file.filename=x,driver=raw',
    'fat:rw:x',
    ' ',
)


@ddt.ddt
class TestNames(base.ImageTestCase):
    @ddt.data(*ODD, '', 'nbd://localhost/x', 'relative/path', './x')
    def test_only_an_absolute_path_is_a_name(self, name):
        for call, *arguments in self.calls(name):
            said = self.refused(call, *arguments)
            self.assertIn('absolute path', said)
            self.assertIn(repr(name), said)

    def test_no_path_has_an_end_before_its_end(self):
        for call, *arguments in self.calls('/a\0b'):
            self.assertIn('\\x00', self.refused(call, *arguments))

    def calls(self, name):
        image = samples.image(name, samples.FILE, samples.QCOW2)
        return (
            (qemu.local, name),
            (qemu.top, image),
            (qemu.content, image),
            (qemu.layer, image),
            (images.kind, name),
            (images.describe, name, samples.QCOW2),
            (images.info, name),
            (deltas.create, model.overlay(name, image), MIB, 30),
            (deltas.stand_on, model.overlay(name, image), 30),
            (deltas.stand_on, model.overlay(self.path(), image), 30),
            (deltas.commit, model.overlay(name, image), image, 30),
        )

    @ddt.data(*ODD)
    def test_each_absolute_path_is_a_file(self, name):
        bottom = self.raw(f'{name}.raw', b'x' * MIB)
        middle = model.overlay(self.path(f'{name}.middle'), bottom)
        top = model.overlay(self.path(name), middle)
        for image in (middle, top):
            deltas.create(image, MIB, 30)
            deltas.stand_on(image, 30)
        self.assertEqual(top, images.describe(top.path, samples.QCOW2))
        self.assertEqual(MIB, images.size(top))
        what = 'write -q -P 122 0 4k'
        node = qemu.options(qemu.layer(top))
        self.run_command('qemu-io', '--image-opts', '-c', what, node)
        part = model.Extent(offset=0, length=MIB)
        before = self.checksum(top, part)
        deltas.commit(top, bottom, 30)
        self.assertEqual(before, self.checksum(bottom, part))
        with open(bottom.path, 'rb') as f:
            self.assertEqual((b'z' * 4096).ljust(MIB, b'x'), f.read())

    def checksum(self, image, part):
        return checksums.of(
            *(image, [part], threading.Event()),
            by_content=True,
            timeout=30,
        )

    def test_an_export_of_an_odd_name(self):
        settings = self.settings(export_address='127.0.0.1')
        error = self.assertRaises(
            exception.BlockCopyError,
            *(export.Exporter(settings).start, samples.export()),
            samples.image('nbd://localhost/x', samples.FILE),
        )
        self.assertIn('nbd://localhost/x', str(error))
