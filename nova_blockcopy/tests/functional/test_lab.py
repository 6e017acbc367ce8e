# SPDX-License-Identifier: Apache-2.0
"""A host runs one generation of programs: its root's, or the machine's."""

import pathlib

from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import root
from nova_blockcopy.tests.lab import scene


def dotted(number):
    return f'{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}'


class TestHosts(base.TestCase):
    def test_programs_and_daemons_are_of_one_generation(self):
        for at in self.lab.hosts:
            found = at.call(scene.versions, at)
            wanted = {
                'libvirtd': dotted(found.libvirt),
                'virsh': dotted(found.libvirt),
                'qemu-system-x86_64': dotted(found.hypervisor),
                'qemu-nbd': dotted(found.hypervisor),
                'qemu-img': dotted(found.hypervisor),
            }
            for program, version in wanted.items():
                printed = at.run(program, '--version').stdout
                self.assertIn(version, printed, program)

    def test_threads_and_commands_see_the_same_files(self):
        about = pathlib.Path('/etc/os-release')
        wanted = (root.chosen() or pathlib.Path('/')) / 'etc' / 'os-release'
        for at in self.lab.hosts:
            self.assertEqual(
                wanted.read_text(), at.run('cat', str(about)).stdout
            )
            self.assertEqual(wanted.read_text(), at.call(about.read_text))

    def test_nothing_is_written_to_a_root(self):
        of = root.chosen()
        if of is None:
            self.skipTest(f'{root.VARIABLE} is not set')
        a, b = self.lab.hosts
        mark = f'mark-{self.lab.name}'
        a.run('touch', f'/etc/{mark}', f'/usr/{mark}')
        for tree in ('etc', 'usr'):
            self.assertFalse((of / tree / mark).exists())
            self.assertNotIn(mark, b.run('ls', f'/{tree}').stdout)
