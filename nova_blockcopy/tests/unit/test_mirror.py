# SPDX-License-Identifier: Apache-2.0
"""What each version of QEMU can be trusted with, for each kind of base."""

import itertools

import ddt

from nova_blockcopy import mirror
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

#: The last version of QEMU that pads badly, and the first one that does not.
OLD, NEW = 8_000_999, 8_001_000
KIB = 1024
ANY, PAD, CLUSTERS = 'takes any', 'must not pad', 'whole clusters'

BLOCK = samples.image()
FILE = samples.image('/file', samples.FILE)
QCOW2 = samples.image('/qcow2', samples.FILE, samples.QCOW2)
LAYERED = samples.layered('/top', '/below')


@ddt.ddt
class TestLeast(base.TestCase):
    @ddt.named_data(
        # base, alignment, cluster, version of QEMU, the least, and why
        ('block, 512', BLOCK, 512, 0, OLD, 512, ANY),
        ('block, 512, new', BLOCK, 512, 0, NEW, 512, ANY),
        ('block, 4096', BLOCK, 4096, 0, OLD, 4096, PAD),
        # its sectors stay what they are
        ('block, 4096, new', BLOCK, 4096, 0, NEW, 4096, PAD),
        ('raw file', FILE, 4096, 0, OLD, 4096, PAD),
        ('raw file, new', FILE, 4096, 0, NEW, 512, ANY),
        ('qcow2', QCOW2, 4096, 64 * KIB, OLD, 4096, PAD),
        ('qcow2, new', QCOW2, 4096, 64 * KIB, NEW, 512, ANY),
        ('layered', LAYERED, 4096, 64 * KIB, OLD, 64 * KIB, CLUSTERS),
        ('layered, new', LAYERED, 4096, 64 * KIB, NEW, 64 * KIB, CLUSTERS),
        ('layered, 2 MiB', LAYERED, 4096, 2048 * KIB, NEW, 2**21, CLUSTERS),
        # the larger of the two decides
        ('layered, 2 KiB', LAYERED, 4096, 2 * KIB, OLD, 4096, PAD),
        ('layered, 2 KiB, new', LAYERED, 4096, 2 * KIB, NEW, 2048, CLUSTERS),
    )
    @ddt.unpack
    def test_least(self, image, alignment, cluster, version, expected, why):
        found = mirror.limits(
            image, alignment=alignment, cluster=cluster, hypervisor=version
        )
        self.assertEqual(expected, found.granularity)
        self.assertIn(why, found.reason)

    @ddt.data(
        *itertools.product(
            (BLOCK, FILE, QCOW2, LAYERED), (1, 512), (0, 512), (OLD, NEW)
        )
    )
    @ddt.unpack
    def test_it_is_never_finer_than_qemu_knows(
        self, image, alignment, cluster, version
    ):
        found = mirror.limits(
            image, alignment=alignment, cluster=cluster, hypervisor=version
        )
        self.assertEqual(512, found.granularity)

    @ddt.data(
        (BLOCK, 7_002_022, False),
        (BLOCK, 8_000_000, True),
        (FILE, 8_000_000, True),
        (QCOW2, 10_000_013, False),
        (LAYERED, 10_000_013, False),
    )
    @ddt.unpack
    def test_synchronous_writes(self, image, version, expected):
        found = mirror.limits(
            image, alignment=512, cluster=0, hypervisor=version
        )
        self.assertIs(expected, found.synchronous)

    @ddt.data(
        (7_002_022, False),
        (8_001_005, False),
        (8_002_000, True),
        (9_002_004, True),
        (10_000_008, True),
        (10_000_009, False),
        (10_000_013, False),
        (10_001_000, True),
        (10_002_001, True),
        (10_002_002, False),
        (11_000_000, False),
    )
    @ddt.unpack
    def test_first_writes(self, version, expected):
        self.assertIs(expected, mirror.misses_first_writes(version))
