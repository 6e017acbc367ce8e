# SPDX-License-Identifier: Apache-2.0
"""Guests as libvirt tells of them, and libvirt's errors as ours."""

import gc
import threading
from unittest import mock

import ddt
import fixtures
import libvirt
import tenacity

from nova_blockcopy import exception
from nova_blockcopy import plan
from nova_blockcopy.host import hypervisor
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

Power = hypervisor.Power


class GuestTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        xml = samples.domain(samples.disk_xml())
        self.machine = fakes.Machine(xml, xml)
        self.connection = fakes.Connection(self.machine)
        self.here = self.connection.hypervisor('host-a')
        self.guest = self.here.guest(samples.UUID)


@ddt.ddt
class TestGuest(GuestTestCase):
    @ddt.data(
        (libvirt.VIR_DOMAIN_RUNNING, 1, Power.RUNNING),
        (libvirt.VIR_DOMAIN_BLOCKED, 0, Power.RUNNING),
        (libvirt.VIR_DOMAIN_PMSUSPENDED, 0, Power.SUSPENDED),
        (
            libvirt.VIR_DOMAIN_PAUSED,
            libvirt.VIR_DOMAIN_PAUSED_USER,
            Power.PAUSED,
        ),
        (
            libvirt.VIR_DOMAIN_PAUSED,
            libvirt.VIR_DOMAIN_PAUSED_IOERROR,
            Power.IO_ERROR,
        ),
        (
            libvirt.VIR_DOMAIN_PAUSED,
            libvirt.VIR_DOMAIN_PAUSED_MIGRATION,
            Power.MIGRATING,
        ),
        (
            libvirt.VIR_DOMAIN_PAUSED,
            libvirt.VIR_DOMAIN_PAUSED_STARTING_UP,
            Power.MIGRATING,
        ),
        (libvirt.VIR_DOMAIN_SHUTOFF, 1, Power.OFF),
        # QEMU is still there, and has the disks open
        (libvirt.VIR_DOMAIN_CRASHED, 0, Power.HALTED),
        (libvirt.VIR_DOMAIN_SHUTDOWN, 0, Power.HALTED),
    )
    @ddt.unpack
    def test_power(self, state, reason, power):
        self.machine.condition = (state, reason)
        self.assertIs(power, self.guest.power())

    def test_a_guest_that_is_gone(self):
        self.connection.machines.clear()
        self.assertIs(Power.OFF, self.guest.power())
        self.assertFalse(self.guest.migrating())
        error = self.assertRaises(
            exception.HypervisorError, self.guest.running_xml
        )
        self.assertIn('host-a', str(error))

    @ddt.data('power', 'migrating', 'live_xml', 'persistent_xml', 'resume')
    def test_a_libvirt_that_fails_is_no_answer(self, method):
        self.connection.broken = fakes.libvirt_error(message='no daemon')
        error = self.assertRaises(
            exception.HypervisorError, getattr(self.guest, method)
        )
        self.assertIn('no daemon', str(error))

    @ddt.data(
        (libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN, None),
        (libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, 'migration'),
        (libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP, 'dump'),
        (libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP, 'backup'),
        (99, 'unknown job'),
    )
    @ddt.unpack
    def test_jobs(self, operation, job):
        self.connection.job = operation
        self.assertEqual(job, self.guest.domain_job())
        self.assertIs(job == 'migration', self.guest.migrating())

    def test_a_guest_that_is_off_has_no_job(self):
        self.machine.power_off()
        self.assertIsNone(self.guest.domain_job())

    def test_definitions(self):
        self.machine.start('vda', samples.image('/new'), 0)
        self.machine.definition = samples.domain(name='defined')
        self.assertIn('mirror', self.guest.running_xml())
        self.assertNotIn('mirror', self.guest.live_xml())
        self.assertIn('defined', self.guest.persistent_xml() or '')
        self.guest.define(samples.domain(name='changed'))
        self.assertIn('changed', self.guest.persistent_xml() or '')

    def test_a_migration_can_be_aborted(self):
        aborted = threading.Event()
        self.connection.on_abort_job = aborted.set
        self.connection.job = libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP
        self.guest.abort_migration()
        self.assertFalse(aborted.is_set(), "another program's dump")
        self.connection.job = libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
        self.guest.abort_migration()
        self.assertTrue(aborted.is_set())

    def test_a_snapshot_of_all_disks_or_none_that_leaves_no_record(self):
        self.guest.snapshot('<domainsnapshot/>')
        self.assertEqual(
            [
                (
                    '<domainsnapshot/>',
                    libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
                    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
                    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
                    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT,
                )
            ],
            self.connection.snapshots,
        )

    def test_limits_are_all_figures_of_a_disk(self):
        self.machine.limits['vda'] = {'read_iops_sec': 7}
        found = self.guest.limits('vda')
        self.assertEqual(7, found['read_iops_sec'])
        # not its group, which is no limit
        self.assertEqual(set(fakes.LIMITS), set(found))

    def test_limits_are_of_the_guest_that_runs(self):
        before = self.guest.limits('vda')
        self.guest.limit('vda', {**before, 'write_bytes_sec': 5})
        self.assertEqual(5, self.guest.limits('vda')['write_bytes_sec'])
        self.guest.limit('vda', before)
        self.assertEqual(before, self.guest.limits('vda'))
        self.assertEqual(
            {libvirt.VIR_DOMAIN_AFFECT_LIVE}, set(self.connection.limit_flags)
        )

    @ddt.data(
        (8_008_000, libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM),
        (8_009_000, libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | 64),
    )
    @ddt.unpack
    def test_undefined_twice_is_undefined_once(self, version, flags):
        self.connection.library = version
        self.machine.power_off()
        for _time in range(2):
            self.guest.undefine()
            self.assertIsNone(self.here.find(samples.UUID))
        self.assertEqual([flags], self.connection.undefined)

    @ddt.data(
        ('snapshot', '<domainsnapshot/>'),
        ('undefine',),
        ('limits', 'vda'),
        ('limit', 'vda', {}),
    )
    def test_what_fails_is_told(self, call):
        self.connection.broken = fakes.libvirt_error(message='no daemon')
        method, *arguments = call
        error = self.assertRaises(
            exception.HypervisorError, getattr(self.guest, method), *arguments
        )
        self.assertIn('no daemon', str(error))

    def test_a_transient_guest_has_no_definition(self):
        self.machine.definition = None
        self.assertIsNone(self.guest.persistent_xml())


class TestHypervisor(GuestTestCase):
    def test_versions(self):
        self.assertEqual(
            plan.Versions(libvirt=9_000_000, hypervisor=7_002_000),
            self.here.versions(),
        )

    def test_by_name_and_by_uuid(self):
        for key in ('guest', samples.UUID):
            found = self.here.guest(key)
            self.assertEqual(('guest', samples.UUID), (found.name, found.uuid))

    def test_nobody(self):
        for key in ('nobody', samples.UUID.replace('1', '9')):
            self.assertIsNone(self.here.find(key))
            error = self.assertRaises(
                exception.GuestNotFound, self.here.guest, key
            )
            self.assertIn(key, str(error))

    def test_a_libvirt_that_fails_is_not_nobody(self):
        self.connection.broken = fakes.libvirt_error()
        self.assertRaises(
            exception.HypervisorError, self.here.find, samples.UUID
        )


@ddt.ddt
class TestPatience(GuestTestCase):
    """A libvirt that starts again, as at an upgrade."""

    def setUp(self):
        super().setUp()
        self.asked = 0
        #: How often nobody answers.
        self.silent = 2
        self.error = fakes.libvirt_error(
            message='no daemon', domain=libvirt.VIR_FROM_RPC
        )
        self.here.connect = self.connect
        for kind in (hypervisor.Hypervisor, hypervisor.Guest):
            for name, method in vars(kind).items():
                if hasattr(method, 'retry'):
                    place = f'{kind.__module__}.{kind.__name__}.{name}.retry'
                    self.patch_(f'{place}.wait', tenacity.wait_fixed(0.001))
                    self.patch_(
                        f'{place}.stop', tenacity.stop_after_attempt(9)
                    )

    def patch_(self, name, value):
        self.useFixture(fixtures.MonkeyPatch(name, value))

    def connect(self):
        self.asked += 1
        if self.asked <= self.silent:
            raise self.error
        return self.connection

    def ask(self, whom, method, *arguments):
        return getattr(getattr(self, whom), method)(*arguments)

    @ddt.data(
        ('here', 'versions'),
        ('here', 'find', samples.UUID),
        ('guest', 'define', samples.domain()),
        ('guest', 'power'),
        ('guest', 'running_xml'),
        ('guest', 'live_xml'),
        ('guest', 'persistent_xml'),
        ('guest', 'resume'),
        ('guest', 'undefine'),
        ('guest', 'migrating'),
        ('guest', 'limits', 'vda'),
        ('guest', 'limit', 'vda', {}),
    )
    def test_what_can_be_asked_twice_is(self, call):
        self.silent = 0
        expected = str(self.ask(*call))
        if call[1] == 'undefine':
            self.connection.machines[samples.UUID] = self.machine
        usual, self.asked, self.silent = self.asked, 0, 2
        self.assertEqual(
            expected.partition(' object ')[0],
            str(self.ask(*call)).partition(' object ')[0],
        )
        self.assertEqual(usual + self.silent, self.asked)

    @ddt.data(('snapshot', '<domainsnapshot/>'), ('pause',))
    def test_what_cannot_is_not(self, call):
        self.assertRaises(exception.Disconnected, self.ask, 'guest', *call)
        self.assertEqual(1, self.asked)

    @ddt.data(
        ('snapshot', '<domainsnapshot/>'),
        ('pause',),
        ('abort_migration',),
        ('power',),
    )
    def test_a_lost_reason_is_asked_for(self, call):
        self.error.err = None
        self.ask('guest', *call)
        self.assertGreater(self.asked, self.silent)

    def test_a_migration_starts_once(self):
        self.error.err = None
        self.assertRaises(
            exception.HypervisorError, self.guest.migrate, 'there', {}, 0
        )
        self.assertEqual(1, self.asked)

    def test_it_has_an_end(self):
        self.silent = 10**9
        error = self.assertRaises(exception.Disconnected, self.guest.power)
        for part in ('host-a', 'no daemon'):
            self.assertIn(part, str(error))
        self.assertGreater(self.asked, 1)

    def test_an_error_that_is_an_answer_is_taken_at_once(self):
        self.error = fakes.libvirt_error(domain=libvirt.VIR_FROM_QEMU)
        error = self.assertRaises(exception.HypervisorError, self.guest.power)
        self.assertIs(exception.HypervisorError, type(error))
        self.assertEqual(1, self.asked)


class TestConnector(base.TestCase):
    """With libvirt's own test driver, which needs no daemon."""

    def setUp(self):
        super().setUp()
        self.connector = hypervisor.Connector('test:///default')
        self.addCleanup(self.connector.close)

    def test_it_is_opened_once(self):
        first = self.connector()
        self.assertEqual('TEST', first.getType())
        self.assertIs(first, self.connector())

    def test_it_is_opened_again_after_its_end(self):
        first = self.connector()
        self.connector.close()
        self.connector.close()
        second = self.connector()
        self.assertIsNot(first, second)
        second.close()
        third = self.connector()
        self.assertIsNot(second, third)
        self.assertEqual('TEST', third.getType())

    def test_a_garbage_collection_loses_the_reason(self):
        """The binding's error: see repeat._reason_lost."""
        here = hypervisor.Hypervisor('host-a', self.connector)
        wait = f'{hypervisor.__name__}.Hypervisor.find.retry.wait'
        self.useFixture(fixtures.MonkeyPatch(wait, tenacity.wait_none()))
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        connection = self.connector()
        for threshold in range(1, 50):
            gc.collect()
            gc.set_threshold(10**6)
            circle = [connection.lookupByName('test')]
            circle.append(circle)
            del circle
            gc.set_threshold(threshold)
            self.assertIsNone(here.find(samples.UUID))

    def test_nothing_is_there(self):
        here = hypervisor.Hypervisor('host-a', self.connector)
        broken = fakes.libvirt_error(message='no daemon')
        with mock.patch.object(
            libvirt, 'open', autospec=True, side_effect=broken
        ):
            error = self.assertRaises(exception.HypervisorError, here.versions)
        self.assertIn('no daemon', str(error))
        self.assertGreater(here.versions().libvirt, 0)
