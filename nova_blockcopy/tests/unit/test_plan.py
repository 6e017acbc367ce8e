# SPDX-License-Identifier: Apache-2.0
"""What moves, what is left alone, and each reason for a refusal."""

import dataclasses

import ddt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

ROOT = samples.image()


def disk(target='vda', source=ROOT, **more):
    return model.Disk(target=target, device='disk', source=source, **more)


def by_target(*disks):
    return {disk.target: disk for disk in disks}


NETWORK = model.NetworkSource(
    protocol='rbd', name='pool/x', address='192.0.2.9', port=6789
)
CDROM = dataclasses.replace(disk('sda', None, readonly=True), device='cdrom')


@ddt.ddt
class TestVersions(base.TestCase):
    def test_the_minimum_is_enough(self):
        plan.check_versions('host', plan.MINIMUM)

    @ddt.data(
        (plan.MINIMUM.libvirt - 1, plan.MINIMUM.hypervisor, 'libvirt 7.999.9'),
        (plan.MINIMUM.libvirt, 5_002_003, 'QEMU 5.2.3'),
    )
    @ddt.unpack
    def test_an_older_one_is_named_with_the_host(self, libvirt, qemu, what):
        versions = plan.Versions(libvirt=libvirt, hypervisor=qemu)
        error = self.assertRaises(
            exception.VersionTooOld, plan.check_versions, 'host-a', versions
        )
        self.assertIn(what, str(error))
        self.assertIn('host-a', str(error))

    def test_versions_are_written_as_people_do(self):
        self.assertEqual('11.3.7', plan.dotted(11_003_007))


class TestEncryption(base.TestCase):
    def test_clear_text_has_to_be_allowed(self):
        for tls, allow_plaintext in ((True, False), (False, True)):
            plan.check_encryption(
                'host-a', tls=tls, allow_plaintext=allow_plaintext
            )
        error = self.assertRaises(
            exception.PlaintextRefused,
            *(plan.check_encryption, 'host-a'),
            tls=False,
            allow_plaintext=False,
        )
        self.assertIn('host-a', str(error))

    def test_it_is_the_same_on_both_hosts(self):
        for both in (True, False):
            plan.check_same_encryption('host-a', both, 'host-b', both)
        error = self.assertRaises(
            exception.EncryptionDiffers,
            *(plan.check_same_encryption, 'host-a', True, 'host-b', False),
        )
        self.assertIn('True on host-a and False on host-b', str(error))


@ddt.ddt
class TestSelect(base.TestCase):
    def select(self, *disks, wanted=('vda',), shared=None):
        return plan.select('guest', by_target(*disks), wanted, shared or {})

    def refused(self, kind, *disks, **arguments):
        return str(self.assertRaises(kind, self.select, *disks, **arguments))

    def test_the_order_is_that_of_the_guest(self):
        chosen = self.select(
            disk('vda'), disk('vdb'), disk('vdc'), wanted=('vdc', 'vda', 'vdb')
        )
        self.assertEqual(('vda', 'vdb', 'vdc'), chosen.moves)
        self.assertEqual((), chosen.left_alone)

    @ddt.named_data(
        ('empty', CDROM, {}, 'the drive is empty', None),
        (
            'readonly',
            disk('vdb', readonly=True),
            {},
            'it is read-only',
            '/dev/vg/root',
        ),
        (
            'shareable',
            disk('vdb', shareable=True),
            {},
            'it is shareable, so its storage is shared',
            '/dev/vg/root',
        ),
        (
            'network',
            disk('vdb', NETWORK),
            {},
            'it is on rbd, not local',
            None,
        ),
        (
            'told to be shared',
            disk('vdb'),
            {'vdb': 'it is on NFS'},
            'it is on NFS',
            # where it is over there is not known here
            None,
        ),
    )
    @ddt.unpack
    def test_left_alone(self, other, shared, reason, path):
        chosen = self.select(disk('vda'), other, shared=shared)
        self.assertEqual(('vda',), chosen.moves)
        self.assertEqual(
            (plan.LeftAlone(disk=other.target, reason=reason, path=path),),
            chosen.left_alone,
        )

    def test_a_local_disk_without_a_base_is_refused(self):
        said = self.refused(exception.DiskRefused, disk('vda'), disk('vdb'))
        self.assertIn('vdb', said)
        self.assertIn('no base was given', said)

    def test_an_odd_source_is_not_an_empty_drive(self):
        odd = disk('vdb', None, obstacle='its source is a volume')
        said = self.refused(exception.DiskRefused, disk('vda'), odd)
        self.assertIn('vdb', said)

    @ddt.named_data(
        ('cdrom', {'device': 'cdrom'}, 'it is a cdrom'),
        ('readonly', {'readonly': True}, 'it is read-only'),
        ('shareable', {'shareable': True}, 'it is shareable'),
        ('network', {'source': NETWORK}, 'it is on rbd'),
        ('no image', {'source': None}, 'it has no image'),
        ('obstacle', {'obstacle': 'it is odd'}, 'it is odd'),
        (
            'obstacle without image',
            {'source': None, 'obstacle': 'it is odd'},
            'it is odd',
        ),
        (
            'qcow2 on a device',
            {'source': samples.image(format_=samples.QCOW2)},
            'cannot grow',
        ),
        (
            'layered raw',
            {'source': samples.image(backing=samples.image('/b'))},
            'a raw image cannot have a backing file',
        ),
    )
    @ddt.unpack
    def test_not_movable(self, changes, reason):
        odd = dataclasses.replace(disk('vda'), **changes)
        said = self.refused(exception.DiskRefused, odd)
        self.assertIn(reason, said)
        self.assertIn('vda', said)

    @ddt.data({'wanted': ('vdz',)}, {'shared': {'vdz': 'it is on NFS'}})
    def test_an_unknown_disk_lists_the_known_ones(self, arguments):
        said = self.refused(
            exception.DiskNotFound, disk('vda'), disk('vdb'), **arguments
        )
        self.assertIn('"vdz"', said)
        self.assertIn('vda, vdb', said)

    def test_a_guest_without_disks(self):
        self.assertIn('none', self.refused(exception.DiskNotFound))

    def test_nothing_to_move_is_refused(self):
        said = self.refused(exception.Refused, disk('vda'), wanted=())
        self.assertIn('vda', said)


def identity(inode):
    return model.ImageIdentity(boot='boot', device=1, inode=inode)


SOURCE = model.SourceDisk(
    disk='vda',
    image=samples.image('/old'),
    size_bytes=1024,
    identity=identity(1),
)
BASE = plan.BaseFacts(
    image=samples.image('/new'), size_bytes=1024, identity=identity(2)
)
LAYERED_SOURCE = dataclasses.replace(
    SOURCE, image=samples.layered('/old', '/below'), backing_digest='abc'
)
LAYERED_BASE = dataclasses.replace(
    BASE, image=samples.layered('/new', '/below2'), backing_digest='abc'
)


@ddt.ddt
class TestMove(base.TestCase):
    @ddt.data(
        (SOURCE, BASE),
        (LAYERED_SOURCE, LAYERED_BASE),
        # another format is no obstacle: a mirror copies what a guest sees
        (
            SOURCE,
            dataclasses.replace(
                BASE,
                image=samples.image('/n', samples.FILE, samples.QCOW2),
            ),
        ),
    )
    @ddt.unpack
    def test_what_fits_is_paired(self, source, facts):
        self.assertEqual(
            model.Move(
                disk='vda',
                source=source.image,
                base=facts.image,
                size_bytes=1024,
            ),
            plan.move(source, facts),
        )

    def test_all_layers_go_into_a_base_without_any(self):
        flat = dataclasses.replace(
            BASE, image=samples.image('/n', samples.FILE, samples.QCOW2)
        )
        made = plan.move(LAYERED_SOURCE, flat, whole=True)
        self.assertTrue(made.whole)
        self.assertEqual(LAYERED_SOURCE.image.backing, made.below())
        error = self.assertRaises(
            exception.BaseRefused,
            plan.move,
            LAYERED_SOURCE,
            LAYERED_BASE,
            whole=True,
        )
        self.assertIn('all layers', str(error))

    @ddt.named_data(
        ('itself', SOURCE, {'identity': identity(1)}, 'the source image'),
        (
            'in use',
            SOURCE,
            {'holders': ('process 7 (dd)', 'loop device loop3')},
            'in use by process 7 (dd), loop device loop3',
        ),
        (
            'qcow2 on a device',
            SOURCE,
            {'image': samples.image('/n', format_=samples.QCOW2)},
            'must be a file',
        ),
        ('too small', SOURCE, {'size_bytes': 1023}, 'it is too small'),
        ('too large', SOURCE, {'size_bytes': 1025}, 'it is too large'),
        (
            'layers too many',
            SOURCE,
            {'image': LAYERED_BASE.image},
            'it has a backing file',
        ),
        (
            'layer missing',
            LAYERED_SOURCE,
            {'image': samples.image('/n', samples.FILE, samples.QCOW2)},
            'it has no backing file',
        ),
        (
            'layer differs',
            LAYERED_SOURCE,
            {'image': LAYERED_BASE.image, 'backing_digest': 'abd'},
            'its backing file /below2 differs',
        ),
    )
    @ddt.unpack
    def test_what_does_not_fit_is_refused(self, source, changes, reason):
        error = self.assertRaises(
            exception.BaseRefused,
            plan.move,
            source,
            dataclasses.replace(BASE, **changes),
        )
        self.assertIn(reason, str(error))

    def test_bases_of_their_own(self):
        other = dataclasses.replace(BASE, identity=identity(3))
        plan.check_unique({'vda': BASE, 'vdb': other})

    def test_a_base_for_two_disks_is_refused(self):
        error = self.assertRaises(
            exception.BaseRefused,
            plan.check_unique,
            {'vda': BASE, 'vdb': BASE},
        )
        self.assertIn('it is the base of disk vda too', str(error))
        self.assertIn('disk vdb', str(error))
