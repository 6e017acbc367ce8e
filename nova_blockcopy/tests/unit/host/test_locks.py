# SPDX-License-Identifier: Apache-2.0
"""The locks of real programs of QEMU."""

import subprocess

import ddt

from nova_blockcopy.host import locks
from nova_blockcopy.tests.unit.host import base


@ddt.ddt
class TestLocks(base.ImageTestCase):
    def use(self, *options):
        """Start a program that has an image open."""
        user = subprocess.Popen(
            ['qemu-io', *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(user.communicate)
        self.addCleanup(user.kill)
        print('length', file=user.stdin, flush=True)
        assert user.stdout is not None
        self.assertIn('1 MiB', user.stdout.readline())
        return user

    @ddt.data((), ('-r',), ('-r', '-U'))
    def test_a_user_with_locks_and_none_any_more(self, options):
        image = self.raw()
        self.assertIs(False, locks.held(image.path))
        user = self.use('-f', 'raw', *options, image.path)
        self.assertIs(True, locks.held(image.path))
        user.kill()
        user.wait()
        self.assertIs(False, locks.held(image.path))

    def test_another_image_is_no_matter(self):
        self.use('-f', 'raw', self.raw('other').path)
        self.assertIs(False, locks.held(self.raw().path))

    def test_a_user_without_locks_as_our_own_servers_are(self):
        node = f'driver=raw,file.driver=file,file.filename={self.raw().path}'
        self.use('--image-opts', f'{node},file.locking=off')
        self.assertIs(False, locks.held(self.path()))

    def test_it_takes_no_lock_itself(self):
        image = self.raw()
        locks.held(image.path)
        with open(image.path, 'rb'):
            self.run_command(
                'qemu-io', '-f', 'raw', '-c', 'write 0 512', image.path
            )

    def test_it_cannot_be_told(self):
        self.assertIsNone(locks.held(self.path('none')))
