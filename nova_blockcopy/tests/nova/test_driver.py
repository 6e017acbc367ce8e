# SPDX-License-Identifier: Apache-2.0
"""The compute driver as a whole, and its start."""

import datetime
import logging
import os
import pathlib
import stat
import threading
from unittest import mock

import ddt
import fixtures
import libvirt
from nova import objects
from nova.compute import manager
from nova.virt import driver as nova_driver  # type: ignore[attr-defined]
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import host as nova_host

from nova_blockcopy import exception
from nova_blockcopy.host import deltas
from nova_blockcopy.host import scope
from nova_blockcopy.host import visibility
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import driver
from nova_blockcopy.nova import reconcile
from nova_blockcopy.nova import startup
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import driver_base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples


class TestDriver(driver_base.DriverTestCase):
    def test_it_is_novas_own(self):
        self.assertIsInstance(self.driver, libvirt_driver.LibvirtDriver)
        self.assertIsInstance(self.driver, nova_driver.ComputeDriver)
        stock = libvirt_driver.LibvirtDriver(self.driver.virtapi)
        self.assertEqual(stock.capabilities, self.driver.capabilities)


class TestLostLibvirt(base.TestCase):
    def test_the_thread_that_notices_it_does_not_wait_for_itself(self):
        """libvirt calls back in the thread of the call that fails."""
        host = driver.BlockCopyLibvirtDriver(mock.Mock())._host
        lost, new = mock.Mock(), mock.Mock()
        error = libvirt.libvirtError('it was killed')
        error.err = (
            *(libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_RPC),
            *('it was killed', 2, None, None, None, 0, 0),
        )

        def fail():
            # before Nova 33, another thread handles the loss
            if hasattr(host, '_connection_closed'):
                host._connection_closed(lost, False, 'it was killed')
            raise error

        lost.getLibVersion.side_effect = fail
        host._wrapped_conn = lost
        self.fake(nova_host.Host, '_get_new_connection', return_value=new)
        found = []
        thread = threading.Thread(
            target=lambda: found.append(host.get_connection()), daemon=True
        )
        thread.start()
        thread.join(10)
        self.assertEqual([new], found)


class TestInit(base.TestCase):
    """Left-overs are settled before Nova looks at its instances."""

    def test_init_host(self):
        began = []
        self.fake_nova(
            'init_host', side_effect=lambda _self, host: began.append(host)
        )
        there = fakes.Connection()
        self.fake(
            objects.MigrationList,
            'get_by_filters',
            return_value=[
                objects.Migration(
                    id=1,
                    instance_uuid=samples.UUID,
                    dest_compute=base.THERE,
                    status='running',
                    created_at=datetime.datetime.min.replace(
                        tzinfo=datetime.UTC
                    ),
                )
            ],
        )
        self.fake(objects.Instance, 'save')
        self.fake(objects.Instance, 'get_by_uuid', return_value=self.instance)
        self.fake(objects.BlockDeviceMappingList, 'get_by_instance_uuid')
        self.fake(compat, 'ComputeAPI')
        other = dispatcher.Dispatcher(
            there.hypervisor(base.THERE),
            self.settings(journal_dir=str(self.directory / 'there')),
        )
        api = compat.ComputeAPI.return_value
        api.check_instance_shared_storage.side_effect = (
            lambda _context, data, **_more: other.handle(data[channel.KEY])
        )
        compute = mock.create_autospec(manager.ComputeManager, instance=True)
        compute.reportclient = None
        virtapi = manager.ComputeVirtAPI(compute)
        ended = virtapi._compute._rollback_live_migration
        here = fakes.Connection(
            fakes.Machine(samples.domain(samples.disk_xml()))
        )
        self.service(here).journal.open(base.record())

        made = driver.BlockCopyLibvirtDriver(virtapi)
        made._host = mock.create_autospec(nova_host.Host, instance=True)
        made._host.get_connection.return_value = here
        log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        made.init_host(base.HERE)

        self.assertRegex(
            log.output, r'nova-blockcopy \S+ does the block live migrations'
        )
        self.assertEqual([base.HERE], began)
        self.assertEqual([], self.service(here).journal.guests())
        ended.assert_called_once()


class TestChildren(base.TestCase):
    def test_a_process_that_ignores_sigchld_does_not_start(self):
        """It could not tell whether qemu-img has succeeded."""
        self.fake_nova('init_host', side_effect=AssertionError)
        self.ignore_children()
        made = driver.BlockCopyLibvirtDriver(mock.Mock())
        self.assertRaises(SystemExit, made.init_host, base.HERE)
        self.assertIn('ignores the signal SIGCHLD', self.log.output)


@ddt.ddt
class TestDirectories(base.TestCase):
    def setUp(self):
        super().setUp()
        self.open = self.directory / 'open'
        self.open.mkdir()
        self.open.chmod(0o777)

    def use(self, option):
        self.conf.config(
            group='blockcopy', **{option: str(self.open / option)}
        )

    def prepare(self):
        startup.check('qemu:///system')

    def test_a_journal_that_others_can_replace(self):
        self.use('journal_dir')
        error = self.assertRaises(exception.UnsafeDirectory, self.prepare)
        self.assertIn(f'chmod go-w {self.open}', str(error))

    def test_deltas_that_others_can_replace(self):
        """Other guests need the guards of the service."""
        self.use('delta_dir')
        log = self.useFixture(fixtures.FakeLogger(level=logging.ERROR))
        self.prepare()
        self.assertIn(f'chmod go-w {self.open}', log.output)
        self.assertRaises(
            exception.UnsafeDirectory,
            deltas.prepare,
            self.service().settings.delta_dir,
        )

    @ddt.data(
        ('no systemd', logging.WARNING, 'until nova-compute runs again'),
        ('', logging.INFO, 'outlive nova-compute'),
    )
    @ddt.unpack
    def test_the_log_tells_what_happens_to_exporters(
        self, obstacle, level, words
    ):
        self.fake(scope, 'obstacle', return_value=obstacle)
        log = self.useFixture(fixtures.FakeLogger(level=level))
        self.service()
        self.assertIn(words, log.output)
        self.assertIn(obstacle, log.output)

    @ddt.data(
        ('own', logging.WARNING, 'pid_mode'),
        ('guests', logging.INFO, 'sees the guests'),
        ('all', logging.INFO, 'sees the guests'),
    )
    @ddt.unpack
    def test_the_log_tells_whether_guests_are_seen(self, seen, level, words):
        self.fake(visibility, '_current', return_value=seen)
        log = self.useFixture(fixtures.FakeLogger(level=level))
        self.service()
        self.assertIn(words, log.output)

    def test_it_starts_without_certificates(self):
        self.conf.config(
            group='blockcopy',
            export_tls=True,
            export_tls_dir=str(self.directory),
        )
        log = self.useFixture(fixtures.FakeLogger(level=logging.ERROR))
        self.service()
        self.assertIn('No disk can leave this host', log.output)
        self.assertIn(f'{self.directory}/ca-cert.pem', log.output)

    def test_the_log_tells_that_the_helper_has_ended(self):
        failure = exception.HelperError(section='s', reason='no sudo')
        for module, name in ((visibility, '_current'), (scope, 'obstacle')):
            self.fake(module, name, side_effect=failure)
        log = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        self.service()
        self.assertIn('cannot be looked for', log.output)

    @ddt.data(('journal_dir', 0o700), ('delta_dir', 0o711))
    @ddt.unpack
    def test_their_rights(self, option, mode):
        self.prepare()
        path = getattr(self.service().settings, option)
        self.assertEqual(mode, stat.S_IMODE(os.stat(path).st_mode))


class TestStartUp(driver_base.DriverTestCase):
    def setUp(self):
        super().setUp()
        self.seen = seen = []

        def stock(self, context, instances):
            seen.extend(instances)
            return instances

        self.useFixture(
            fixtures.MonkeyPatch(
                'nova.virt.libvirt.driver.LibvirtDriver.'
                'process_instances_at_startup',  # there since Nova 34
                stock,
            )
        )

    def assert_kept_from_nova(self, made):
        other = base.instance(uuid=base.VOLUME)
        given = [self.instance, other]
        found = made.process_instances_at_startup(self.context, given)
        self.assertEqual([other], found)
        self.assertEqual(given, self.seen)

    def test_nova_is_kept_from_what_is_not_settled(self):
        """It would call it at home, and start it here."""
        self.driver._unsettled = {samples.UUID}
        self.assert_kept_from_nova(self.driver)

    def test_nova_is_kept_from_what_has_a_damaged_journal(self):
        """Nobody knows where it is, and nobody tries again."""
        self.fake_nova('init_host')
        self.fake(objects.MigrationList, 'get_by_filters', return_value=[])
        path = pathlib.Path(self.service().journal.path(samples.UUID))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{')
        go_on = self.fake(reconcile.Reconciler, 'go_on')
        made = driver.BlockCopyLibvirtDriver(mock.Mock())
        made._host = mock.create_autospec(nova_host.Host, instance=True)
        made.init_host(base.HERE)
        self.assert_kept_from_nova(made)
        for call in go_on.mock_calls:
            self.assertEqual([], list(call.args[1]))
