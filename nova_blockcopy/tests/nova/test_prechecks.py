# SPDX-License-Identifier: Apache-2.0
"""The checks of both hosts before a live migration."""

import dataclasses
import threading
import typing
from typing import Any
from unittest import mock

import ddt
import fixtures
import libvirt
import oslo_messaging

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import reach
from nova_blockcopy.host import usage
from nova_blockcopy.host import visibility
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import service
from nova_blockcopy.nova import surroundings
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import driver_base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

SOURCE, DESTINATION = model.Role.SOURCE, model.Role.DESTINATION
State = states.State


@ddt.ddt
class TestCheckAtDestination(driver_base.DriverTestCase):
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
        self.assert_refused(
            compat.MigrationPreCheckError, *words, call=self.check
        )
        self.stock.assert_not_called()

    def test_it_offers_in_what_nova_found(self):
        data = self.check()
        offered = handshake.Terms(host=base.HERE, images='qcow2')
        self.assertEqual(offered, handshake.read(data))
        self.assertEqual('tmpfile', data.filename)
        self.stock.assert_called_once_with(
            self.driver, self.context, self.instance, *self.ARGUMENTS
        )

    @ddt.data(SOURCE, DESTINATION)
    def test_a_journal_that_is_not_closed(self, role):
        """Also one from which it came: its disks here may be all it has."""
        self.journal.open(base.record(role, State.STUCK))
        self.refused(base.HERE, 'stuck')

    def test_a_journal_that_is_about_to_be_closed(self):
        """Nova calls a migration completed a moment before that."""
        self.journal.open(base.record(DESTINATION, State.SETTLED))
        timer = threading.Timer(0.3, self.journal.close, [samples.UUID])
        timer.start()
        self.addCleanup(timer.join)
        self.assertIsNotNone(handshake.read(self.check()))

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
class TestCheckAtSource(driver_base.DriverTestCase):
    """``host-b`` has a real engine, which answers by Nova's RPC."""

    BDI: typing.ClassVar[dict[str, list[Any]]] = {'block_device_mapping': []}

    def setUp(self):
        super().setUp()
        disk = self.directory / 'disk'
        disk.write_bytes(b'x' * 4096)
        self.machine.xml = samples.domain(samples.file_xml('vda', disk))
        self.conf.config(group='blockcopy', export_address='127.0.0.1')
        self.driver = self.make_driver(self.connection)
        self.stock = self.fake_nova(
            'check_can_live_migrate_source',
            side_effect=lambda _self, _context, _instance, data, _bdi: data,
        )
        self.paths = [str(disk)]
        self.fake_nova(
            '_get_instance_disk_info',
            side_effect=lambda _self, _instance, _bdi: [
                base.disk_info(path) for path in self.paths
            ],
        )
        self.faults: dict[str, str] = {}
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{reach.__name__}.fault',
                lambda uri, _timeout: self.faults.get(uri, ''),
            )
        )
        # both hosts have the options of this process
        self.fake(
            surroundings.Surroundings, 'address', return_value=base.THERE
        )
        self.fake(compat, 'volume_group_info', return_value={'free': 2**30})
        self.fake(compat, 'list_volumes', return_value=[])
        self.far = fakes.Connection()
        self.start_destination()
        self.silent = False
        self.fake(compat, 'ComputeAPI')
        api = compat.ComputeAPI.return_value
        api.check_instance_shared_storage.side_effect = self.answer

    def start_destination(self, **options):
        """Start the nova-compute of host-b with these options."""
        known = {'journal_dir': str(self.directory / 'there'), **options}
        for name, value in known.items():
            self.conf.config(group='blockcopy', **{name: value})
        self.there = service.Service(
            base.THERE,
            lambda: self.far,
            'qemu:///system',
            self.cleared.append,
            self.driver._endpoint,
        )
        for name in known:
            compat.CONF.clear_override(name, group='blockcopy')

    def answer(self, _context, data, *, host):
        self.assertEqual(base.THERE, host)
        if self.silent:
            raise oslo_messaging.MessagingTimeout('no answer')
        return self.there.answer(data[channel.KEY])

    def check(self, terms: handshake.Terms | None = None, **values):
        if terms is not None:
            images = values.get('image_type', 'qcow2')
            terms = dataclasses.replace(terms, host=base.THERE, images=images)
        self.data = self.said(terms, **values)
        return self.driver.check_can_live_migrate_source(
            self.context, self.instance, self.data, self.BDI
        )

    def refused(self, *words, terms=handshake.Terms(), **values):  # noqa: B008
        before = self.machine.xml
        self.assert_refused(
            compat.MigrationPreCheckError,
            *words,
            call=lambda: self.check(terms, **values),
        )
        self.assertFalse(handshake.agreed(self.data))
        self.assertEqual(before, self.machine.xml)
        self.assertEqual([], self.journal.guests())

    def test_it_agrees(self):
        data = self.check(handshake.Terms())
        self.assertEqual(driver_base.AGREED, handshake.read(data))
        self.assertEqual([base.VOLUME, handshake.SERIAL], self.serials(data))
        self.stock.assert_called_once_with(
            self.driver, self.context, self.instance, self.data, self.BDI
        )

    @ddt.data(None, handshake.Terms())
    def test_without_local_disks_it_is_novas(self, terms):
        data = self.check(terms, block_migration=False, image_type='rbd')
        self.assertIs(self.data, data)
        said = terms and dataclasses.replace(
            terms, host=base.THERE, images='rbd'
        )
        self.assertEqual(said, handshake.read(data))

    def test_a_destination_without_us(self):
        self.refused('does not run nova-blockcopy', terms=None)

    def test_a_destination_with_other_images(self):
        self.refused('raw', 'qcow2', image_type='raw')

    @ddt.data(
        ('default', True, 'qcow2'),
        ('default', False, 'raw'),
        ('flat', True, 'raw'),
    )
    @ddt.unpack
    def test_two_names_of_one_type_of_images(self, here, cow, there):
        self.conf.config(use_cow_images=cow)
        self.conf.config(group='libvirt', images_type=here)
        data = self.check(handshake.Terms(), image_type=there)
        self.assertTrue(handshake.agreed(data))

    def test_a_destination_with_tls_where_we_have_none(self):
        self.start_destination(export_tls=True)
        self.refused('export_tls is True on host-b and False on host-a')

    def test_what_only_the_destination_knows(self):
        (self.instances / samples.UUID).mkdir()
        self.refused(f'{samples.UUID} already exists')

    def test_every_reason_of_both_hosts(self):
        """The API shows the first one, and where to find the others."""
        self.start_destination(export_tls=True)
        self.machine.snapshots = ['s1']
        self.faults['qemu+tcp://host-b/system'] = 'nobody listens.'
        self.refused(
            'snapshot s1',
            'There are 3 more reasons.',
            f'See "nova-blockcopy plan {samples.UUID} --to host-b" on host-a.',
        )
        for words in ('snapshot s1', 'export_tls', 'nobody listens'):
            self.assertIn(words, self.log.output)

    def test_the_message_has_room_in_the_api(self):
        self.start_destination(export_tls=True)
        self.machine.snapshots = ['s' * 400]
        error = self.assertRaises(
            compat.MigrationPreCheckError, self.check, handshake.Terms()
        )
        self.assertLessEqual(len(str(error)), 255)
        self.assertIn('--to host-b" on host-a.', str(error))

    def test_a_destination_that_gives_no_answer(self):
        self.silent = True
        self.refused('host-b was not asked', 'no answer')

    @ddt.data('host-a', 'host-b')
    def test_a_libvirt_that_cannot_be_reached(self, host):
        self.faults[f'qemu+tcp://{host}/system'] = 'nobody listens.'
        self.refused(f'qemu+tcp://{host}/system', 'nobody listens')

    def test_no_room_for_deltas_is_no_refusal(self):
        self.start_destination(delta_min_free=2**40)
        self.assertTrue(handshake.agreed(self.check(handshake.Terms())))
        self.assertIn('The mode is direct, not seeded', self.log.output)

    def test_no_room_for_the_bases(self):
        self.fake(usage, 'free', return_value=4095)
        self.refused('host-b has 0 MiB free for the bases')

    def test_clear_text_that_is_not_allowed(self):
        self.conf.config(group='blockcopy', allow_plaintext=False)
        self.driver = self.make_driver(self.connection)
        self.refused('clear text', 'allow_plaintext')

    def test_encrypted_volumes(self):
        self.instance.ephemeral_key_uuid = samples.UUID
        self.refused('encrypted')

    def test_what_the_engine_refuses(self):
        self.paths = ['/dev/vg/root']
        self.machine.xml = samples.domain(
            samples.disk_xml('vda', more='<transient/>')
        )
        self.refused('transient', 'vda')

    def test_a_guest_that_is_not_running(self):
        self.machine.condition = (libvirt.VIR_DOMAIN_SHUTOFF, 1)
        self.refused('is off')

    def test_a_guest_that_libvirt_does_not_know(self):
        self.connection.machines.clear()
        self.refused(samples.UUID)

    def test_a_journal_that_is_not_closed(self):
        self.journal.open(base.record(DESTINATION, State.COPYING))
        self.assert_refused(
            compat.MigrationPreCheckError,
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


@ddt.ddt
class TestLastCheckAtDestination(driver_base.DriverTestCase):
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
            compat.MigrationPreCheckError,
            str(self.folder),
            call=lambda: self.check(driver_base.AGREED),
        )
        self.stock.assert_not_called()

    def test_none_is_in_the_way(self):
        data = self.check(driver_base.AGREED)
        self.assertIs(self.data, data)
        self.stock.assert_called_once_with(
            self.driver, self.context, self.instance, data, 'm', 'l', 'a'
        )

    def see(self, seen, images='lvm'):
        self.fake(visibility, '_current', return_value=seen)
        self.conf.config(
            group='libvirt', images_type=images, images_volume_group='vg'
        )

    def test_volumes_whose_users_are_not_seen(self):
        self.see('own')
        self.assert_refused(
            *(compat.MigrationPreCheckError, 'on volumes', 'pid_mode'),
            call=lambda: self.check(driver_base.AGREED),
        )
        self.stock.assert_not_called()

    @ddt.data(('all', 'lvm'), ('guests', 'lvm'), ('own', 'qcow2'))
    @ddt.unpack
    def test_users_that_are_seen_or_have_locks(self, seen, images):
        self.see(seen, images)
        self.assertIs(self.check(driver_base.AGREED), self.data)

    def test_the_helper_does_not_start(self):
        self.see('all')
        failure = exception.HelperError(section='s', reason='no sudo')
        with mock.patch.object(
            visibility, 'current', autospec=True, side_effect=failure
        ):
            self.assert_refused(
                *(compat.MigrationPreCheckError, 'no sudo'),
                call=lambda: self.check(driver_base.AGREED),
            )

    def test_without_an_agreement_it_is_novas(self):
        self.folder.mkdir()
        self.see('own')
        for terms in (None, handshake.Terms()):
            self.assertIs(self.check(terms), self.data)
