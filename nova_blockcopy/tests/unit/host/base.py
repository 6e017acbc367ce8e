# SPDX-License-Identifier: Apache-2.0
"""Tests with real image files."""

import os
import stat
import subprocess

from nova_blockcopy import exception
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

MIB = 1024 * 1024


class ImageTestCase(base.TestCase):
    def path(self, name='image'):
        return str(self.directory / name)

    def raw(self, name='image', content=b'', size=MIB):
        with open(self.path(name), 'wb') as f:
            f.write(content)
            f.truncate(size)
        return samples.image(self.path(name), samples.FILE)

    def qcow2(self, name='image', *options, size=MIB, backing=None):
        self.qemu_img(
            *('create', '-f', 'qcow2', *options, self.path(name), str(size))
        )
        return samples.image(
            self.path(name), samples.FILE, samples.QCOW2, backing
        )

    def qemu_img(self, *arguments):
        self.run_command('qemu-img', *arguments)

    def run_command(self, *argv):
        subprocess.run(argv, check=True, capture_output=True)

    def refused(self, call, *arguments):
        error = self.assertRaises(exception.ImageError, call, *arguments)
        return str(error)


def block_device(number):
    """What stat says of a block device."""
    fields = (stat.S_IFBLK | 0o600, 5, 6, 1, 0, 0, 0, 0, 0, 0)
    return os.stat_result(fields, {'st_rdev': number})
