# SPDX-License-Identifier: Apache-2.0
"""The search for the users of an image, on a machine with dead servers."""

import os
import pathlib
import signal
import subprocess

import fixtures
import testtools

from nova_blockcopy import exception
from nova_blockcopy.host import holders
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.lab import tied

_SECONDS = 30


class TestDeadFileSystem(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def image(self, name):
        path = self.folder / name
        path.write_bytes(bytes(4096))
        return str(path)

    def silent(self):
        """A file whose server has stopped to answer."""
        real, shown = self.image('real'), self.image('shown')
        before = os.stat(shown).st_dev
        server = subprocess.Popen(
            tied.tied(
                *('qemu-storage-daemon', '--blockdev'),
                f'driver=file,node-name=real,filename={real}',
                '--export',
                f'type=fuse,id=it,node-name=real,mountpoint={shown}',
            )
        )
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.assertTrue(
            waiting.until(
                lambda: os.stat(shown).st_dev != before, timeout=_SECONDS
            )
        )
        self.addCleanup(subprocess.run, ['umount', '-l', shown], check=True)
        self.user(shown)
        # the kernel fails all calls once the server has ended
        self.addCleanup(server.kill)
        server.send_signal(signal.SIGSTOP)
        return shown

    def user(self, path):
        with open(path, 'rb') as f:
            child = subprocess.Popen(['sleep', '600'], stdin=f)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def test_other_files_are_found(self):
        self.silent()
        path = self.image('image')
        child = self.user(path)
        (holder,) = holders.of(path)
        self.assertIn(str(child.pid), holder)

    def test_the_image_itself_is_there(self):
        """The search ends, and says so."""
        self.useFixture(fixtures.MockPatchObject(holders, '_LIMIT', 2))
        shown = self.silent()
        error = self.assertRaises(exception.ImageError, holders.of, shown)
        self.assertIn('not found within 2 s', str(error))
