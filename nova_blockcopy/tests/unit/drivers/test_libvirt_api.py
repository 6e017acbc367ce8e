# SPDX-License-Identifier: Apache-2.0
"""The libvirt driver: exact parameters and flags, and errors translated."""

import threading

import ddt
import libvirt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.drivers import contract
from nova_blockcopy.drivers import libvirt_api
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

START_FLAGS = (
    libvirt.VIR_DOMAIN_BLOCK_COPY_SHALLOW
    | libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT
    | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
)
ASYNC = libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC
BASE = samples.image('/dev/new/vda')


@ddt.ddt
class TestDriver(base.TestCase):
    def setUp(self):
        super().setUp()
        self.machine = fakes.Machine(samples.domain(samples.disk_xml()))
        self.connection = fakes.Connection(self.machine)
        self.driver = self.make(timeout=30)

    def make(self, timeout, connect=None):
        context = contract.Access(
            uri='unused',
            connect=connect or (lambda: self.connection),
            timeout=timeout,
        )
        return libvirt_api.LibvirtCopyDriver(context)

    def start(self, image=BASE, **settings):
        self.driver.start(
            samples.UUID, 'vda', image, model.CopySettings(**settings)
        )

    def status(self):
        return self.driver.status(samples.UUID, 'vda').get('vda')

    def refused(self, kind, method, *more):
        error = self.assertRaises(
            kind, getattr(self.driver, method), samples.UUID, 'vda', *more
        )
        self.assertIs(kind, type(error))
        return str(error)

    @ddt.data(
        BASE,
        samples.image('/x', samples.FILE),
        samples.layered('/x', '/below'),
    )
    def test_the_base_is_declared_as_it_is(self, image):
        self.start(image)
        self.assertEqual([('vda', image)], self.machine.started)

    @ddt.named_data(
        ('default', {}, {'granularity': 512}, 0),
        ('nothing', {'granularity': 0}, {}, 0),
        (
            'all',
            {
                'granularity': 65536,
                'bandwidth': 7,
                'buf_size': 4096,
                'synchronous_writes': True,
            },
            {'granularity': 65536, 'bandwidth': 7, 'buf-size': 4096},
            libvirt.VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES,
        ),
    )
    @ddt.unpack
    def test_settings(self, settings, parameters, flags):
        self.start(**settings)
        ((disk, _xml, given, given_flags),) = self.connection.block_copies
        self.assertEqual(
            ('vda', parameters, START_FLAGS | flags),
            (disk, given, given_flags),
        )

    def test_figures_are_in_bytes_and_ready_is_from_the_domain(self):
        self.start(bandwidth=9)
        self.assertEqual(
            contract.JobStatus(
                processed=500,
                total=fakes.TOTAL,
                bandwidth=9,
                kind=contract.JobKind.COPY,
                ready=False,
                into='/dev/new/vda',
            ),
            self.status(),
        )
        self.assertTrue(self.status().ready)
        self.assertEqual(
            {libvirt.VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES},
            set(self.connection.job_flags),
        )

    def test_no_job(self):
        self.assertIsNone(self.status())

    def test_speed_is_in_bytes(self):
        self.start()
        self.driver.set_speed(samples.UUID, 'vda', 4321)
        self.assertEqual([0, 4321], self.machine.speeds['vda'])
        self.assertEqual(
            [libvirt.VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES],
            self.connection.job_flags,
        )

    @ddt.data(
        ('pivot', libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT | ASYNC),
        ('abort', ASYNC),
    )
    @ddt.unpack
    def test_the_end_of_a_job(self, method, flags):
        self.start()
        self.machine.jobs['vda'].ready = True
        getattr(self.driver, method)(samples.UUID, 'vda')
        self.assertEqual([flags], self.connection.job_flags)
        self.assertEqual({}, self.machine.jobs)

    @ddt.data(0, 4321)
    def test_a_commit_goes_into_one_image_at_bytes(self, speed):
        self.machine.use({'vda': model.overlay('/delta', BASE)})
        self.driver.commit(samples.UUID, 'vda', BASE, speed)
        self.assertEqual(
            [
                (
                    'vda',
                    BASE.path,
                    speed,
                    libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
                    | libvirt.VIR_DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES,
                )
            ],
            self.connection.block_commits,
        )

    def test_a_pivot_too_early_is_told_apart(self):
        self.start()
        self.refused(exception.NotReady, 'pivot')
        self.assertIn('vda', self.machine.jobs)

    @ddt.data(
        ('start', BASE, model.CopySettings()),
        ('commit', BASE, 0),
        ('set_speed', 5),
        ('pivot',),
        ('abort',),
        ('status',),
    )
    def test_any_other_error_is_passed_on(self, call):
        self.connection.broken = fakes.libvirt_error(message='it is gone')
        said = self.refused(exception.DriverError, *call)
        self.assertIn('it is gone', said)

    def test_a_lost_reason_is_asked_for(self):
        self.start()
        error = fakes.libvirt_error()
        error.err = None
        lost = iter([error])

        def connect():
            for each in lost:
                raise each
            return self.connection

        self.driver = self.make(30, connect)
        self.refused(exception.NotReady, 'pivot')

    def test_a_call_that_hangs_is_left(self):
        released = threading.Event()
        self.addCleanup(released.set)

        def connect():
            released.wait()
            return self.connection

        self.driver = self.make(1, connect)
        self.assertIn('pivot', self.refused(exception.DriverTimeout, 'pivot'))
