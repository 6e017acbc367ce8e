# SPDX-License-Identifier: Apache-2.0
"""The compute driver: Nova's own, but for what concerns a move."""

import datetime
import functools
import json
import pathlib
import threading
import typing
from typing import Any
from unittest import mock

import ddt
import fixtures
import libvirt
import nova.exception
from nova import objects
from nova.compute import manager
from nova.network import neutron
from nova.virt import driver as nova_driver  # type: ignore[attr-defined]
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import guest as nova_guest
from nova.virt.libvirt import host as nova_host
from nova.virt.libvirt import utils as libvirt_utils

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import driver
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import live_migration
from nova_blockcopy.nova import service
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import test_bases
from nova_blockcopy.tests.nova import test_live_migration
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

SOURCE, DESTINATION = model.Role.SOURCE, model.Role.DESTINATION
State = states.State

PRECHECK = compat.MigrationPreCheckError
AGREED = handshake.Terms(agreed=True)


class DriverTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.machine = fakes.Machine(
            samples.domain(samples.disk_xml('vda')), ''
        )
        self.connection = fakes.Connection(self.machine)
        self.driver: Any = self.make_driver(self.connection)
        self.journal = self.driver._service.journal

    def said(self, terms: handshake.Terms | None, **values: Any) -> Any:
        """Nova's data, as it comes in with these terms."""
        data = base.migrate_data(bdms=[base.volume_entry()], **values)
        if terms is not None:
            handshake.write(data, terms)
        return base.travelled(data)

    def bases(self, data: Any) -> dict[str, model.BaseRequest]:
        terms = handshake.read(data)
        assert terms is not None
        return terms.bases

    def serials(self, data: Any) -> list[str]:
        return [entry.serial for entry in data.bdms]


@ddt.ddt
class TestDriver(DriverTestCase):
    def test_it_is_novas_own(self):
        self.assertIsInstance(self.driver, libvirt_driver.LibvirtDriver)
        self.assertIsInstance(self.driver, nova_driver.ComputeDriver)
        stock = libvirt_driver.LibvirtDriver(self.driver.virtapi)
        self.assertEqual(stock.capabilities, self.driver.capabilities)

    def test_options_have_defaults_that_fit_nova(self):
        settings = self.driver._service.settings
        self.assertEqual(
            f'{self.directory}/blockcopy/journal', settings.journal_dir
        )
        self.assertEqual('192.0.2.1', settings.export_address)

    @ddt.data(True, False)
    def test_exports_are_encrypted_as_migrations_are(self, native):
        self.conf.config(
            group='libvirt', live_migration_with_native_tls=native
        )
        self.assertIs(native, self.service().settings.export_tls)

    def test_exports_are_where_migrations_come_in(self):
        self.conf.config(
            group='libvirt', live_migration_inbound_addr='198.51.100.7'
        )
        self.assertEqual(
            '198.51.100.7', self.service().settings.export_address
        )

    def test_what_an_operator_sets_stays(self):
        self.conf.config(
            group='blockcopy',
            journal_dir='/j',
            export_address='203.0.113.1',
        )
        settings = self.service().settings
        self.assertEqual(
            ('/j', '203.0.113.1'),
            (settings.journal_dir, settings.export_address),
        )


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
        made.init_host(base.HERE)

        self.assertEqual([base.HERE], began)
        self.assertEqual([], self.service(here).journal.guests())
        ended.assert_called_once()


class TestStartUp(DriverTestCase):
    def test_nova_is_kept_from_what_is_not_settled(self):
        """It would call it at home, and start it here."""
        seen = []

        def stock(_self, _context, instances):
            seen.extend(instances)
            return instances

        self.useFixture(
            fixtures.MonkeyPatch(
                'nova.virt.libvirt.driver.LibvirtDriver.'
                'process_instances_at_startup',  # there since Nova 34
                stock,
            )
        )
        other = base.instance(uuid=base.VOLUME)
        self.driver._unsettled = [samples.UUID]
        given = [self.instance, other]
        found = self.driver.process_instances_at_startup(self.context, given)
        self.assertEqual([other], found)
        self.assertEqual(given, seen)


@ddt.ddt
class TestCheckAtDestination(DriverTestCase):
    ARGUMENTS = ({'cpu_info': '{}'}, {'free_disk_gb': 1}, True, False)

    def setUp(self):
        super().setUp()
        self.stock = self.fake_nova(
            'check_can_live_migrate_destination',
            side_effect=lambda *_args: base.migrate_data(),
        )
        self.left = self.fake_nova('_lvm_disks', return_value=[])

    def check(self):
        return self.driver.check_can_live_migrate_destination(
            self.context, self.instance, *self.ARGUMENTS
        )

    def refused(self, *words):
        self.assert_refused(PRECHECK, *words, call=self.check)
        self.stock.assert_not_called()

    def test_it_offers_in_what_nova_found(self):
        data = self.check()
        self.assertEqual(handshake.Terms(), handshake.read(data))
        self.assertEqual('tmpfile', data.filename)
        self.stock.assert_called_once_with(
            self.driver, self.context, self.instance, *self.ARGUMENTS
        )

    def test_it_tells_whether_it_has_tls(self):
        self.conf.config(group='blockcopy', export_tls=True)
        self.driver = self.make_driver(self.connection)
        self.assertEqual(
            handshake.Terms(tls=True), handshake.read(self.check())
        )

    @ddt.data(SOURCE, DESTINATION)
    def test_a_journal_that_is_not_closed(self, role):
        """Also one from which it came: its disks here may be all it has."""
        self.journal.open(base.record(role, State.STUCK))
        self.refused(base.HERE, 'stuck')

    def test_volumes_that_exist(self):
        self.use_volumes()
        self.left.return_value = [f'/dev/here/{samples.UUID}_disk']
        self.refused(f'/dev/here/{samples.UUID}_disk')

    def test_no_volumes_left(self):
        self.use_volumes()
        self.assertIsNotNone(handshake.read(self.check()))

    def test_volumes_do_not_matter_to_files(self):
        self.left.return_value = ['/dev/here/x']
        self.assertIsNotNone(handshake.read(self.check()))


@ddt.ddt
class TestCheckAtSource(DriverTestCase):
    BDI: typing.ClassVar[dict[str, list[Any]]] = {'block_device_mapping': []}

    def setUp(self):
        super().setUp()
        self.stock = self.fake_nova(
            'check_can_live_migrate_source',
            side_effect=lambda _self, _context, _instance, data, _bdi: data,
        )
        self.paths = ['/dev/vg/root']
        self.fake_nova(
            '_get_instance_disk_info',
            side_effect=lambda _self, _instance, _bdi: [
                test_bases.info(path) for path in self.paths
            ],
        )

    def check(self, terms: handshake.Terms | None = None, **values):
        self.data = self.said(terms, **values)
        return self.driver.check_can_live_migrate_source(
            self.context, self.instance, self.data, self.BDI
        )

    def refused(self, *words, terms=handshake.Terms(), **values):  # noqa: B008
        before = self.machine.xml
        self.assert_refused(
            PRECHECK, *words, call=lambda: self.check(terms, **values)
        )
        self.assertFalse(handshake.agreed(self.data))
        self.assertEqual(before, self.machine.xml)
        self.assertEqual([], self.journal.guests())

    def test_it_agrees(self):
        data = self.check(handshake.Terms())
        self.assertEqual(AGREED, handshake.read(data))
        self.assertEqual([base.VOLUME, handshake.SERIAL], self.serials(data))
        self.stock.assert_called_once_with(
            self.driver, self.context, self.instance, self.data, self.BDI
        )

    @ddt.data(None, handshake.Terms())
    def test_without_local_disks_it_is_novas(self, terms):
        data = self.check(terms, block_migration=False, image_type='rbd')
        self.assertIs(self.data, data)
        self.assertEqual(terms, handshake.read(data))

    def test_a_destination_without_us(self):
        self.refused('does not run nova-blockcopy', terms=None)

    def test_a_destination_with_other_images(self):
        self.refused('raw', 'qcow2', image_type='raw')

    def test_a_destination_with_tls_where_we_have_none(self):
        self.refused(
            'export_tls is False on host-a and True on the destination',
            terms=handshake.Terms(tls=True),
        )

    def test_clear_text_that_is_not_allowed(self):
        self.conf.config(group='blockcopy', allow_plaintext=False)
        self.driver = self.make_driver(self.connection)
        self.refused('clear text', 'allow_plaintext')

    def test_encrypted_volumes(self):
        self.instance.ephemeral_key_uuid = samples.UUID
        self.refused('encrypted')

    def test_what_the_engine_refuses(self):
        self.machine.xml = samples.domain(
            samples.disk_xml('vda', more='<transient/>')
        )
        self.refused('transient', 'vda')

    def test_a_guest_that_is_not_running(self):
        self.machine.condition = (libvirt.VIR_DOMAIN_SHUTOFF, 1)
        self.refused('not running')

    def test_a_guest_that_libvirt_does_not_know(self):
        self.connection.machines.clear()
        self.refused(samples.UUID)

    def test_a_journal_that_is_not_closed(self):
        self.journal.open(base.record(DESTINATION, State.COPYING))
        self.assert_refused(
            PRECHECK,
            base.HERE,
            'copying',
            call=lambda: self.check(handshake.Terms()),
        )
        self.stock.assert_not_called()

    def test_volumes_with_a_directory_that_both_hosts_share(self):
        self.use_volumes()
        (self.instances / 'tmpfile').touch()
        self.refused('share', image_type='lvm')
        self.stock.assert_not_called()

    def test_volumes_with_directories_of_their_own(self):
        self.use_volumes()
        data = self.check(handshake.Terms(), image_type='lvm')
        self.assertTrue(handshake.agreed(data))

    def test_files_with_a_directory_that_both_hosts_share(self):
        """They are in it, so nothing has to move: that is Nova's."""
        (self.instances / 'tmpfile').touch()
        data = self.check(
            None, block_migration=False, is_shared_instance_path=True
        )
        self.assertIs(self.data, data)


class TestLastCheckAtDestination(DriverTestCase):
    def setUp(self):
        super().setUp()
        self.stock = self.fake_nova(
            'check_source_migrate_data_at_dest',
            side_effect=lambda _self, _context, _instance, data, *_more: data,
        )
        self.folder = self.instances / samples.UUID

    def check(self, terms):
        self.data = self.said(terms)
        return self.driver.check_source_migrate_data_at_dest(
            self.context, self.instance, self.data, 'm', 'l', 'a'
        )

    def test_a_directory_that_exists(self):
        """Nova finds it too late, and takes back by removing it."""
        self.folder.mkdir()
        self.assert_refused(
            PRECHECK, str(self.folder), call=lambda: self.check(AGREED)
        )
        self.stock.assert_not_called()

    def test_none_is_in_the_way(self):
        data = self.check(AGREED)
        self.assertIs(self.data, data)
        self.stock.assert_called_once_with(
            self.driver, self.context, self.instance, data, 'm', 'l', 'a'
        )

    def test_without_an_agreement_it_is_novas(self):
        self.folder.mkdir()
        for terms in (None, handshake.Terms()):
            self.assertIs(self.check(terms), self.data)


class TestPreLiveMigration(DriverTestCase):
    """With Nova's own code, down to the commands that it would run."""

    def setUp(self):
        super().setUp()
        self.made: list[Any] = []
        self.fake(
            libvirt_utils,
            'create_image',
            side_effect=lambda path, *more: self.made.append((path, *more)),
        )
        self.volumes: list[Any] = []
        self.fake(compat, 'list_volumes', return_value=[])
        self.fake(
            compat,
            'create_volume',
            side_effect=lambda *given: self.volumes.append(given),
        )
        self.folder = self.instances / samples.UUID

    def prepare(self, terms, *info, **values):
        self.data = self.said(terms, **values)
        data = self.driver.pre_live_migration(
            self.context,
            self.instance,
            {'block_device_mapping': []},
            [],
            json.dumps(info),
            self.data,
        )
        return base.travelled(data)

    def test_files(self):
        data = self.prepare(
            AGREED,
            test_bases.info('/old/disk'),
            test_bases.info(
                '/old/disk.eph0', 'qcow2', '/old/_base/ephemeral_1_0'
            ),
        )
        disk = str(self.folder / 'disk')
        ephemeral = str(self.folder / 'disk.eph0')
        self.assertEqual(
            {
                '/old/disk': model.BaseRequest(path=disk, format=samples.RAW),
                '/old/disk.eph0': model.BaseRequest(
                    path=ephemeral, format=samples.QCOW2, whole=True
                ),
            },
            self.bases(data),
        )
        self.assertTrue(handshake.agreed(data))
        # none is made on a backing file that is this host's own
        self.assertEqual(
            [(disk, 'raw', 1024), (ephemeral, 'qcow2', 1024)], self.made
        )
        self.assertTrue(self.folder.is_dir())

    def test_volumes(self):
        self.use_volumes('here')
        name = f'{samples.UUID}_disk'
        data = self.prepare(
            AGREED,
            test_bases.info(f'/dev/there/{name}'),
            test_bases.info('/old/disk.config'),
        )
        self.assertEqual([('here', name, 1024)], self.volumes)
        # Nova alone would make a file in place of the volume
        config = str(self.folder / 'disk.config')
        self.assertEqual([(config, 'raw', 1024)], self.made)
        self.assertEqual(
            {
                f'/dev/there/{name}': f'/dev/here/{name}',
                '/old/disk.config': config,
            },
            {path: request.path for path, request in self.bases(data).items()},
        )

    def assert_start_is_refused(self):
        self.assert_refused(
            compat.MigrationError,
            samples.UUID,
            'empty disks',
            call=lambda: self.driver.spawn(
                self.context, self.instance, 'meta', [], 'pw', {}
            ),
        )

    def test_bases_are_no_disks_to_start_from(self):
        """An evacuation would take them for disks that it shares."""
        stock = self.fake_nova('spawn')
        self.prepare(AGREED, test_bases.info('/old/disk'))
        (self.folder / 'disk').touch()
        self.assert_start_is_refused()
        # also when it has been started again
        self.driver._service = self.service()
        self.assert_start_is_refused()
        stock.assert_not_called()

    def test_the_engine_has_a_journal_of_them(self):
        self.prepare(AGREED, test_bases.info('/old/disk'))
        (self.folder / 'disk').touch()
        self.journal.open(base.record(DESTINATION))
        self.driver._service.answer(
            {'operation': 'status', 'guest': samples.UUID, 'migration': 'm1'}
        )
        self.assertIsNone(self.driver._service.expected.find(samples.UUID))

    def test_nova_removes_the_bases(self):
        self.prepare(AGREED, test_bases.info('/old/disk'))
        (self.folder / 'disk').touch()
        self.fake_nova('rollback_live_migration_at_destination')
        self.driver.rollback_live_migration_at_destination(
            self.context, self.instance, [], {}, True, self.data
        )
        self.assertIsNone(self.driver._service.expected.find(samples.UUID))

    def test_it_is_known_what_is_about_to_be_made(self):
        """A volume that is half made is found by its name."""
        self.use_volumes('here')
        noted: list[str] = []

        def create(*_given):
            note = pathlib.Path(self.directory).rglob(f'{samples.UUID}.json')
            noted.extend(path.read_text() for path in note)

        compat.create_volume.side_effect = create
        name = f'{samples.UUID}_disk'
        self.prepare(AGREED, test_bases.info(f'/dev/there/{name}'))
        (note,) = noted
        self.assertIn(f'/dev/here/{name}', note)

    def test_a_backing_file_that_all_hosts_have_the_same(self):
        cached = self.fake_nova('_try_fetch_image_cache')
        data = self.prepare(
            AGREED, test_bases.info('/old/disk', 'qcow2', '/old/_base/0123')
        )
        cached.assert_called_once()
        self.assertFalse(self.bases(data)['/old/disk'].whole)

    def test_without_an_agreement_it_is_novas(self):
        self.use_volumes('here')
        for terms in (None, handshake.Terms()):
            data = self.prepare(terms, test_bases.info('/dev/there/u_disk'))
            self.assertIsNone(handshake.read(data))
            self.assertEqual([], self.volumes)
            self.assertEqual(
                [(str(self.folder / 'u_disk'), 'raw', 1024)], self.made
            )
            (self.folder / 'disk.info').unlink()
            self.folder.rmdir()
            del self.made[:]

    def test_without_local_disks(self):
        data = self.prepare(AGREED, is_shared_block_storage=True)
        self.assertEqual(AGREED, handshake.read(data))
        self.assertEqual([], self.made)

    def test_a_failure_is_forgotten(self):
        """So that it is Nova's own code that runs at the next attempt."""
        self.folder.mkdir()
        self.assert_refused(
            compat.DestinationDiskExists,
            call=lambda: self.prepare(AGREED, test_bases.info('/old/disk')),
        )
        self.folder.rmdir()
        self.test_without_an_agreement_it_is_novas()


class TestDeleted(DriverTestCase):
    """What is left of an instance whose guest is on the other host."""

    def setUp(self):
        super().setUp()
        self.stock = self.fake_nova('cleanup')

    def remove(self, **facts):
        self.instance = base.instance(**facts)
        self.fake(objects.Instance, 'get_by_uuid', return_value=self.instance)
        self.driver._remove_deleted(samples.UUID)

    def test_it_is_removed(self):
        self.remove(deleted=True, info_cache=None)
        (call,) = self.stock.call_args_list
        self.assertIs(self.instance, call.args[2])

    def test_an_instance_that_lives(self):
        self.assert_refused(
            compat.MigrationError,
            *(samples.UUID, 'not deleted'),
            call=lambda: self.remove(deleted=False),
        )
        self.stock.assert_not_called()


class TestMessages(DriverTestCase):
    def ask(self, data):
        return self.driver.check_instance_shared_storage_remote(
            self.context, data
        )

    def test_what_nova_asks_is_answered_by_nova(self):
        there = self.directory / 'there'
        self.assertIs(False, self.ask({'filename': str(there)}))
        there.touch()
        self.assertIs(True, self.ask({'filename': str(there)}))

    def test_what_we_ask_is_answered_by_the_engine(self):
        answer = self.ask(
            {
                'filename': '/nonexistent',
                channel.KEY: {
                    'operation': 'fly',
                    'guest': samples.UUID,
                    'migration': 'm',
                },
            }
        )
        self.assertEqual('PeerError', answer['error']['class'])
        self.assertIn('fly', answer['error']['message'])


class Domain(test_live_migration.Domain):
    """Nova's domain, on one host or the other."""

    def __init__(self, xml: str) -> None:
        super().__init__()
        self.xml = xml
        self.here = True

    def isActive(self):
        return self.here

    def XMLDesc(self, flags=0):
        return self.xml

    def UUIDString(self):
        return samples.UUID

    def migrateToURI3(self, destination, params, flags):
        super().migrateToURI3(destination, params, flags)
        self.here = False

    def jobStats(self, flags=0):
        return {
            'type': libvirt.VIR_DOMAIN_JOB_NONE
            if self.here
            else libvirt.VIR_DOMAIN_JOB_COMPLETED
        }

    def jobInfo(self):
        return [self.jobStats()['type'], *[0] * 11]


class Moving(test_live_migration.Moving):
    """An engine's migration that does what it is told to when it runs."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.act = act

    def run(self):
        self.act(self)


class Spawned:
    """What Nova before 2025.2 takes for a green thread."""

    def __init__(self, work, *args, **kwargs):
        self.thread = threading.Thread(
            target=functools.partial(work, *args, **kwargs), daemon=True
        )
        self.thread.start()

    def link(self, *_more):
        """Nova is not told that it ended: that decides nothing here."""


def network(driver):
    """What a driver's compute manager asks Neutron with."""
    made = mock.create_autospec(neutron.API, instance=True)
    compute = mock.create_autospec(manager.ComputeManager, instance=True)
    compute.network_api = made
    driver.virtapi._compute = compute
    return made


class LiveMigrationTestCase(DriverTestCase):
    """Nova's own live migration and monitor, around our engine's end."""

    XML = test_live_migration.HOME

    def setUp(self):
        super().setUp()
        self.domain = Domain(self.XML)
        self.guest = nova_guest.Guest(self.domain)
        self.driver._host.get_guest.return_value = self.guest
        self.driver._live_migration_flags = libvirt.VIR_MIGRATE_LIVE
        self.driver._block_migration_flags = (
            libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_NON_SHARED_INC
        )
        self.threads: list[Any] = []
        if not hasattr(libvirt_driver, 'thread_pool_factory') and hasattr(
            libvirt_driver, 'eventlet'
        ):
            self.useFixture(fixtures.MonkeyPatch('nova.utils.spawn', Spawned))
        self.asked: list[Any] = []
        self.engine = self.fake(
            service.Service, 'departure', side_effect=self.departure
        )
        self.saved: list[Any] = []
        self.fake(objects.Migration, 'save', side_effect=self.saved.append)
        self.ended: list[Any] = []
        self.act = lambda moving: None
        self.network = network(self.driver)

    def departure(self, _self, *given):
        """The engine's migration, and what it was made of."""
        names = (
            *('instance', 'peer', 'channel', 'bases', 'there', 'home'),
            *('switch', 'listener'),
        )
        self.asked.append(dict(zip(names, given, strict=True)))
        return Moving(self.act)

    def post(self, context, instance, dest, block_migration, migrate_data):
        self.ended.append(('done', dest))

    def recover(
        self, context, instance, dest, migrate_data, migration_status='failed'
    ):
        self.ended.append((migration_status, dest))

    def migrate(self, terms=AGREED, **values):
        data = self.said(terms, **values)
        self.driver.live_migration(
            self.context,
            self.instance,
            base.THERE,
            self.post,
            self.recover,
            True,
            data,
        )

    def switch(self):
        """Carry the guest over, as the engine does."""
        self.asked[0]['switch'](test_live_migration.DISKS)(
            test_live_migration.REMOTE, '', threading.Event()
        )

    def raises(self, error):
        def act(moving):
            raise error

        return act


@ddt.ddt
class TestLiveMigration(LiveMigrationTestCase):
    def test_done(self):
        self.migrate()
        self.assertEqual([('done', base.THERE)], self.ended)

    @ddt.data(test_live_migration.FAILED, test_live_migration.REFUSED)
    def test_taken_back(self, error):
        self.act = self.raises(error)
        self.migrate()
        self.assertEqual([('failed', base.THERE)], self.ended)

    def test_aborted(self):
        self.act = self.raises(test_live_migration.ABORTED)
        self.migrate()
        self.assertEqual([('cancelled', base.THERE)], self.ended)

    @ddt.data(test_live_migration.STUCK, KeyError('what'))
    def test_stuck(self, error):
        """Nova neither goes on nor takes anything back."""
        self.act = self.raises(error)
        raised = self.assert_refused(compat.MigrationError, call=self.migrate)
        self.assertIn(str(error), raised)
        self.assertEqual([], self.ended)
        self.driver._reconciler.go_on.assert_called_once_with([samples.UUID])

    def test_one_that_is_not_stuck_is_not_settled_again(self):
        self.migrate()
        self.driver._reconciler.go_on.assert_not_called()

    def test_refused_by_the_engine(self):
        self.engine.side_effect = test_live_migration.REFUSED
        self.migrate()
        self.assertEqual([('failed', base.THERE)], self.ended)
        self.assertIn(str(test_live_migration.REFUSED), self.log.output)

    def test_what_the_engine_is_given(self):
        bases = {'/dev/vg/root': model.BaseRequest(path='/dev/there/root')}
        self.conf.config(
            group='libvirt', live_migration_inbound_addr='198.51.100.7'
        )
        self.migrate(
            handshake.Terms(agreed=True, bases=bases),
            target_connect_addr='198.51.100.8',
        )
        (asked,) = self.asked
        self.assertEqual(samples.UUID, asked['instance'].uuid)
        self.assertEqual(base.THERE, asked['peer'])
        self.assertEqual(bases, asked['bases'])
        self.assertIsInstance(asked['channel'], channel.RpcChannel)
        self.assertEqual(
            model.Endpoint(
                uri='qemu+tcp://198.51.100.8/system',
                migrate_uri='tcp://198.51.100.8',
            ),
            asked['there'],
        )
        self.assertEqual(
            model.Endpoint(
                uri='qemu+tcp://198.51.100.7/system',
                migrate_uri='tcp://198.51.100.7',
            ),
            asked['home'],
        )

    @ddt.data({}, {'target_connect_addr': None})
    def test_hosts_are_reached_by_their_names_without_an_address(self, more):
        self.migrate(**more)
        (asked,) = self.asked
        self.assertEqual('qemu+tcp://host-b/system', asked['there'].uri)
        self.assertEqual('qemu+tcp://host-a/system', asked['home'].uri)

    def test_novas_xml_with_our_disks_is_what_libvirt_gets(self):
        """Our entry among the volumes disturbs nothing on the way."""
        self.act = lambda _moving: self.switch()
        self.migrate()
        self.assertEqual([('done', base.THERE)], self.ended)
        ((uri, params, flags),) = self.domain.migrated
        self.assertEqual('qemu+tcp://host-b/system', uri)
        found = domxml.disks(params['destination_xml'])
        self.assertEqual([], test_live_migration.away_from_exports(found))
        self.assertEqual(
            domxml.disks(self.XML)['vdb'].source, found['vdb'].source
        )
        self.assertTrue(flags & libvirt.VIR_MIGRATE_UNSAFE)
        self.assertFalse(flags & libvirt.VIR_MIGRATE_NON_SHARED_INC)
        self.assertNotIn('migrate_disks', params)
        (call,) = self.network.migrate_instance_start.call_args_list
        self.assertEqual(base.THERE, call.args[2].dest_compute)

    def test_a_guest_that_is_over_there_is_not_at_home_yet(self):
        """Nova goes on when the disks are there too, not before."""
        seen = []

        def act(_moving):
            self.switch()
            leaving = self.driver._departures[samples.UUID]
            watched = live_migration.WatchedGuest(self.guest, leaving)
            seen.extend([watched.get_job_info().type, list(self.ended)])

        self.act = act
        self.migrate()
        self.assertEqual([libvirt.VIR_DOMAIN_JOB_NONE, []], seen)
        self.assertEqual([('done', base.THERE)], self.ended)

    def test_a_failed_switchover_is_taken_back(self):
        self.domain.error = fakes.libvirt_error(message='no route')
        seen = []

        def act(_moving):
            try:
                self.switch()
            except exception.SwitchoverError as e:
                seen.append(str(e))
                raise test_live_migration.undone(e) from e

        self.act = act
        self.migrate()
        self.assertIn('no route', seen[0])
        self.assertEqual([('failed', base.THERE)], self.ended)

    def test_the_figures_are_those_of_the_engine(self):
        def act(_moving):
            self.asked[0]['listener'](
                progress.Progress(
                    state=State.COPYING,
                    disks=(
                        model.DiskProgress(
                            disk='vda', processed_bytes=3, total_bytes=10
                        ),
                    ),
                )
            )

        self.act = act
        self.migrate()
        (record,) = self.saved
        self.assertEqual(
            (10, 3, 7),
            (
                record.disk_total,
                record.disk_processed,
                record.disk_remaining,
            ),
        )

    @ddt.data(None, handshake.Terms())
    def test_without_an_agreement_it_is_novas(self, terms):
        self.fake_nova(
            '_live_migration_copy_disk_paths',
            return_value=(['/dev/vg/root'], ['vda']),
        )
        self.migrate(terms)
        self.assertEqual([], self.asked)
        self.assertEqual([('done', base.THERE)], self.ended)
        ((_uri, params, flags),) = self.domain.migrated
        self.assertEqual(['vda'], params['migrate_disks'])
        self.assertTrue(flags & libvirt.VIR_MIGRATE_NON_SHARED_INC)
        self.assertFalse(flags & libvirt.VIR_MIGRATE_UNSAFE)

    def test_it_is_forgotten_in_the_end(self):
        """The next one may be one that only Nova takes part in."""
        for act in (self.raises(test_live_migration.FAILED), self.act):
            self.act = act
            self.migrate()
            self.assertEqual(1, len(self.asked))
            del self.asked[:]
        self.fake_nova(
            '_live_migration_copy_disk_paths', return_value=([], ['vda'])
        )
        self.migrate(None)
        self.assertEqual([], self.asked)


class TestLiveMigrationAbort(LiveMigrationTestCase):
    def setUp(self):
        super().setUp()
        self.stock = self.fake_nova('live_migration_abort')

    def abort(self):
        self.driver.live_migration_abort(self.instance)

    def at(self, state):
        self.asked[0]['listener'](progress.Progress(state=state))

    def test_none_of_ours_is_novas(self):
        self.abort()
        self.stock.assert_called_once_with(self.driver, self.instance)

    def test_it_is_the_engines(self):
        moved = []

        def act(moving):
            self.at(State.COPYING)
            self.abort()
            moved.append(moving.aborts)
            raise test_live_migration.ABORTED

        self.act = act
        self.migrate()
        self.assertEqual([1], moved)
        self.assertEqual([('cancelled', base.THERE)], self.ended)
        self.stock.assert_not_called()

    def test_in_the_switchover_libvirt_is_told_too(self):
        def act(_moving):
            self.at(State.SWITCHING)
            self.abort()
            raise test_live_migration.ABORTED

        self.act = act
        self.migrate()
        self.assertEqual([('cancelled', base.THERE)], self.ended)
        self.stock.assert_called_once_with(self.driver, self.instance)

    def test_a_switchover_that_has_just_ended(self):
        self.stock.side_effect = fakes.libvirt_error(message='no job')

        def act(_moving):
            self.at(State.SWITCHING)
            self.abort()
            raise test_live_migration.ABORTED

        self.act = act
        self.migrate()
        self.assertEqual([('cancelled', base.THERE)], self.ended)

    def test_too_late(self):
        def act(moving):
            moving.reversible = False
            self.assert_refused(
                compat.MigrationError, 'too late', call=self.abort
            )
            moved.append(True)

        moved: list[bool] = []
        self.act = act
        self.migrate()
        self.assertEqual([True], moved)
        self.assertEqual([('done', base.THERE)], self.ended)


class TestRollbackAtSource(DriverTestCase):
    """Ports that Nova has bound to the destination are bound here again."""

    def setUp(self):
        super().setUp()
        self.stock = self.fake_nova('rollback_live_migration_at_source')
        self.network = network(self.driver)

    def roll_back(self, terms=AGREED):
        data = self.said(terms)
        data.migration = objects.Migration(dest_compute=base.THERE)
        self.driver.rollback_live_migration_at_source(
            self.context, self.instance, data
        )
        self.stock.assert_called_once_with(
            self.driver, self.context, self.instance, data
        )

    def test_ports(self):
        self.roll_back()
        back, others_off, noted = self.network.method_calls
        self.assertEqual('migrate_instance_start', back[0])
        _context, found, migration = back.args
        self.assertIs(self.instance, found)
        self.assertEqual(base.HERE, migration.dest_compute)
        self.assertEqual('setup_networks_on_host', others_off[0])
        self.assertEqual(
            {'host': base.THERE, 'teardown': True}, others_off.kwargs
        )
        self.assertEqual('get_instance_nw_info', noted[0])

    def test_ports_that_neutron_does_not_bind(self):
        self.network.migrate_instance_start.side_effect = (
            nova.exception.PortBindingActivationFailed(port_id='p', host='h')
        )
        self.roll_back()
        self.assertIn('by hand', self.log.output)

    def test_a_migration_that_is_not_ours(self):
        self.roll_back(terms=None)
        self.assertEqual([], self.network.method_calls)


#: Method, its arguments after context and instance, what is raised.
GUARDED: tuple[Any, ...] = (
    (
        'cleanup',
        ([], None, True),
        {'migrate_data': None, 'destroy_vifs': True},
        compat.MigrationError,
    ),
    ('destroy', ([], None, True), {}, compat.InstancePowerOffFailure),
    (
        'rollback_live_migration_at_destination',
        ([], {}, True, None),
        {},
        compat.MigrationError,
    ),
    ('spawn', ('meta', [], 'pw', {}), {}, compat.MigrationError),
    ('_hard_reboot', ([], 'share', {}, []), {}, compat.MigrationError),
    ('resume_state_on_host_boot', ([], 's', {}), {}, compat.MigrationError),
    (
        'snapshot',
        ('image', lambda *_more: None),
        {},
        compat.MigrationError,
    ),
    ('suspend', (), {}, compat.InstanceFaultRollback),
    ('rescue', ([], 'meta', 'pw', {}, 's'), {}, compat.MigrationError),
    (
        'migrate_disk_and_power_off',
        ('192.0.2.9', 'flavor', []),
        {'timeout': 0, 'retry_interval': 0},
        compat.InstanceFaultRollback,
    ),
)
#: Those that a destination's journal allows while its disks are copies.
REMOVALS = ('cleanup', 'destroy', 'rollback_live_migration_at_destination')


@ddt.ddt
class TestGuards(DriverTestCase):
    def call(self, name, args, kwargs):
        return getattr(self.driver, name)(
            self.context, self.instance, *args, **kwargs
        )

    @ddt.named_data(*((row[0], *row) for row in GUARDED))
    @ddt.unpack
    def test_with_a_journal(self, name, args, kwargs, error):
        stock = self.fake_nova(name)
        self.journal.open(base.record(SOURCE, State.COPYING))
        self.assert_refused(
            error,
            samples.UUID,
            'copying',
            call=lambda: self.call(name, args, kwargs),
        )
        stock.assert_not_called()

    @ddt.named_data(*((row[0], *row) for row in GUARDED))
    @ddt.unpack
    def test_with_a_journal_of_a_guest_that_comes(
        self, name, args, kwargs, error
    ):
        stock = self.fake_nova(name)
        self.journal.open(base.record(DESTINATION, State.COPYING))
        if name in REMOVALS:
            self.call(name, args, kwargs)
            stock.assert_called_once()
        else:
            self.assert_refused(
                error, call=lambda: self.call(name, args, kwargs)
            )
            stock.assert_not_called()

    @ddt.data(*(row for row in GUARDED if row[0] in REMOVALS))
    @ddt.unpack
    def test_with_a_journal_of_a_guest_that_came(
        self, name, args, kwargs, error
    ):
        stock = self.fake_nova(name)
        self.journal.open(base.record(DESTINATION, State.PIVOTING))
        self.assert_refused(
            error, base.THERE, call=lambda: self.call(name, args, kwargs)
        )
        stock.assert_not_called()

    @ddt.named_data(*((row[0], *row) for row in GUARDED))
    @ddt.unpack
    def test_without_a_journal_it_is_novas(self, name, args, kwargs, _error):
        """Also with one of another instance."""
        stock = self.fake_nova(name, return_value='done')
        self.journal.open(base.record(guest=base.VOLUME))
        result = self.call(name, args, kwargs)
        stock.assert_called_once_with(
            self.driver, self.context, self.instance, *args, **kwargs
        )
        if name == 'migrate_disk_and_power_off':
            self.assertEqual('done', result)

    def test_a_suspend_that_is_refused_keeps_the_instances_state(self):
        """Nova unpacks what is in this error, and leaves it ACTIVE."""
        self.journal.open(base.record())
        error = self.assertRaises(
            compat.InstanceFaultRollback,
            self.driver.suspend,
            self.context,
            self.instance,
        )
        self.assertIs(compat.MigrationError, type(error.inner_exception))

    def test_a_guest_that_is_started(self):
        stock = self.fake_nova('_create_guest', return_value='guest')
        start = functools.partial(
            self.driver._create_guest,
            self.context,
            '<domain/>',
            self.instance,
            power_on=False,
        )
        self.assertEqual('guest', start())
        stock.assert_called_once_with(
            self.driver,
            self.context,
            '<domain/>',
            self.instance,
            power_on=False,
        )
        for role in (SOURCE, DESTINATION):
            self.journal.open(base.record(role))
            self.assert_refused(
                compat.MigrationError, samples.UUID, call=start
            )
            self.journal.close(samples.UUID)
        stock.assert_called_once()

    def test_files(self):
        folder = self.instances / samples.UUID
        folder.mkdir()
        (folder / 'disk').touch()
        self.journal.open(base.record())
        self.assert_refused(
            compat.MigrationError,
            call=lambda: self.driver.delete_instance_files(self.instance),
        )
        self.assertTrue((folder / 'disk').exists())
        self.journal.close(samples.UUID)
        self.assertTrue(self.driver.delete_instance_files(self.instance))
        self.assertEqual([], list(self.instances.iterdir()))

    def test_volumes(self):
        stock = self.fake_nova('_cleanup_lvm')
        self.journal.open(base.record())
        self.assert_refused(
            compat.MigrationError,
            call=lambda: self.driver._cleanup_lvm(self.instance, {}),
        )
        stock.assert_not_called()
        self.journal.close(samples.UUID)
        self.driver._cleanup_lvm(self.instance, {})
        stock.assert_called_once_with(self.driver, self.instance, {})

    def test_one_that_was_evacuated_only_stops(self):
        """It must not run twice, and its disks are not Nova's to remove."""
        stock = self.fake_nova('destroy')
        off = self.fake_nova('power_off')
        self.instance.host = 'host-c'
        self.journal.open(base.record(SOURCE, State.EXPORTING))
        self.driver.destroy(self.context, self.instance, [], None, True)
        off.assert_called_once_with(self.driver, self.instance)
        stock.assert_not_called()
        self.assertIn('host-c', self.log.output)

    def test_what_nova_calls_below_is_guarded_too(self):
        """A way of Nova's that does not go through ``destroy``."""
        self.fake_nova('_destroy')
        self.journal.open(base.record(DESTINATION, State.RELEASING))
        self.assert_refused(
            compat.MigrationError,
            call=lambda: compat.LibvirtDriver.destroy(
                self.driver, self.context, self.instance, [], None, True
            ),
        )


class TestDelete(LiveMigrationTestCase):
    """Nova's API lets an instance be deleted while it moves."""

    def setUp(self):
        super().setUp()
        self.gone: list[Any] = []
        self.fake_nova(
            'destroy', side_effect=lambda *_given: self.gone.append(True)
        )

    def destroy(self):
        self.driver.destroy(self.context, self.instance, [], None, True)

    def run_beside(self, work):
        thread = threading.Thread(target=work)
        thread.start()
        self.addCleanup(thread.join, 30)
        return thread

    def test_the_move_is_taken_back_first(self):
        self.fake_nova('live_migration_abort')
        order = []

        def act(moving):
            self.journal.open(base.record(SOURCE, State.COPYING))
            deleting = self.run_beside(self.destroy)
            self.assertTrue(
                waiting.until(lambda: moving.aborts == 1, timeout=30)
            )
            order.append(('undone', list(self.gone)))
            self.journal.close(samples.UUID)
            self.threads.append(deleting)
            raise test_live_migration.ABORTED

        self.act = act
        self.migrate()
        self.threads[0].join(30)
        self.assertEqual([('undone', [])], order)
        self.assertEqual([True], self.gone)
        self.assertEqual([('cancelled', base.THERE)], self.ended)

    def test_one_that_is_stuck_stays(self):
        self.journal.open(base.record(SOURCE, State.STUCK))
        self.assert_refused(
            compat.InstancePowerOffFailure, 'stuck', call=self.destroy
        )
        self.assertEqual([], self.gone)

    def test_during_the_pivot_it_can_be_deleted_again_later(self):
        said = []

        def act(moving):
            moving.reversible = False
            said.append(
                self.assertRaises(compat.InstancePowerOffFailure, self.destroy)
            )

        self.act = act
        self.migrate()
        self.assertIn('too late', str(said[0]))
        self.assertEqual([], self.gone)
        self.assertEqual([('done', base.THERE)], self.ended)


class TestGivenUp(LiveMigrationTestCase):
    def test_novas_way_alone_is_never_taken(self):
        """Its monitor failed before the operation had begun."""
        self.assertRaises(
            compat.MigrationError,
            self.driver._live_migration_operation,
            self.context,
            self.instance,
            base.THERE,
            True,
            self.said(AGREED),
            self.guest,
            [],
        )
        self.assertEqual([], self.asked)


@ddt.ddt
class TestUnreadableJournal(LiveMigrationTestCase):
    """Nobody knows what may be done, so nothing is."""

    def setUp(self):
        super().setUp()
        path = pathlib.Path(self.journal.path(self.instance.uuid))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{')

    @ddt.data(
        (
            'check_can_live_migrate_destination',
            ({}, {}, True, False),
            'MigrationPreCheckError',
        ),
        ('destroy', ([],), 'InstancePowerOffFailure'),
        ('suspend', (), 'InstanceFaultRollback'),
        ('delete_instance_files', None, 'MigrationError'),
    )
    @ddt.unpack
    def test_it_is_refused(self, method, arguments, kind):
        given = (
            (self.instance,)
            if arguments is None
            else (self.context, self.instance, *arguments)
        )
        error = self.assertRaises(
            getattr(compat, kind), getattr(self.driver, method), *given
        )
        self.assertIs(getattr(compat, kind), type(error))
