# SPDX-License-Identifier: Apache-2.0
"""Bases that Nova makes on the destination."""

import dataclasses
import json
import os
import pathlib
from typing import Any

import ddt
from nova.virt.libvirt import utils as libvirt_utils
from oslo_concurrency import processutils

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import handshake
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import driver_base
from nova_blockcopy.tests.unit import samples

#: What Nova says of a volume group that is full.
NO_ROOM = "Insufficient Space on Volume Group here."
SOURCE, DESTINATION = model.Role.SOURCE, model.Role.DESTINATION
State = states.State


class TestEnd(driver_base.DriverTestCase):
    """What Nova calls on the destination in the end."""

    def setUp(self):
        super().setUp()
        self.instance.host = base.THERE
        for name in (
            'rollback_live_migration_at_destination',
            'post_live_migration_at_destination',
        ):
            self.fake_nova(name)

    def roll_back(self):
        self.driver.rollback_live_migration_at_destination(
            self.context,
            self.instance,
            [],
            {},
            migrate_data=self.said(driver_base.AGREED),
        )

    def arrive(self):
        self.driver.post_live_migration_at_destination(
            self.context, self.instance, []
        )

    def settled(self, authority, **values):
        self.journal.open(
            base.record(
                DESTINATION, State.SETTLED, authority=authority, **values
            )
        )

    def test_nothing_is_left_of_a_guest_that_has_not_come(self):
        self.settled(SOURCE)
        self.roll_back()
        self.assertEqual([], self.journal.guests())

    def test_a_guest_that_has_come_is_not_rolled_back(self):
        self.settled(DESTINATION)
        self.assert_refused(compat.MigrationError, call=self.roll_back)
        self.assertEqual([samples.UUID], self.journal.guests())

    def test_the_space_of_files_is_reserved_as_nova_reserves_it(self):
        path = self.directory / 'disk'
        path.write_bytes(b'x')
        os.truncate(path, 1 << 20)
        image = samples.image(str(path), samples.FILE)
        move = dataclasses.replace(
            samples.move('vda', base=image), size_bytes=1 << 20
        )
        self.settled(DESTINATION, moves=(move,))
        for mode, least, most in (('none', 0, 4096), ('space', 1 << 20, None)):
            self.conf.config(preallocate_images=mode)
            self.arrive()
            found = path.stat().st_blocks * 512
            self.assertLessEqual(least, found)
            self.assertLessEqual(found, most or found)

    def test_space_that_cannot_be_reserved_is_no_error_of_the_guest(self):
        self.conf.config(preallocate_images='space')
        image = samples.image(str(self.directory / 'no'), samples.FILE)
        self.settled(DESTINATION, moves=(samples.move('vda', base=image),))
        self.arrive()
        self.assertIn('is not reserved', self.log.output)


@ddt.ddt
class TestPreLiveMigration(driver_base.DriverTestCase):
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
            driver_base.AGREED,
            base.disk_info('/old/disk'),
            base.disk_info(
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
            driver_base.AGREED,
            base.disk_info(f'/dev/there/{name}'),
            base.disk_info('/old/disk.config'),
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

    @ddt.data(
        RuntimeError(NO_ROOM),
        processutils.ProcessExecutionError(stderr=NO_ROOM),
        exception.HelperError(reason=NO_ROOM, section='s'),
    )
    def test_why_a_volume_cannot_be_made(self, error):
        """Nova would show only the name of an error that is not its own."""
        self.use_volumes('here')
        compat.create_volume.side_effect = error
        disk = base.disk_info(f'/dev/there/{samples.UUID}_disk')
        said = self.assert_refused(
            *(compat.MigrationError, NO_ROOM, 'choose another host.'),
            call=lambda: self.prepare(driver_base.AGREED, disk),
        )
        self.assertLessEqual(len(said), 255)

    def test_novas_own_error_is_left_alone(self):
        self.use_volumes('here')
        error = compat.DestinationDiskExists(path='/dev/x')
        compat.create_volume.side_effect = error
        disk = base.disk_info(f'/dev/there/{samples.UUID}_disk')
        self.assertIs(
            error,
            self.assertRaises(
                compat.DestinationDiskExists,
                *(self.prepare, driver_base.AGREED, disk),
            ),
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
        self.prepare(driver_base.AGREED, base.disk_info('/old/disk'))
        (self.folder / 'disk').touch()
        self.assert_start_is_refused()
        # also when it has been started again
        self.driver._service = self.service()
        self.assert_start_is_refused()
        stock.assert_not_called()

    def test_the_engine_has_a_journal_of_them(self):
        self.prepare(driver_base.AGREED, base.disk_info('/old/disk'))
        (self.folder / 'disk').touch()
        self.journal.open(base.record(DESTINATION))
        self.driver._service.answer(
            {'operation': 'status', 'guest': samples.UUID, 'migration': 'm1'}
        )
        self.assertIsNone(self.driver._service.expected.find(samples.UUID))

    def test_nova_removes_the_bases(self):
        self.prepare(driver_base.AGREED, base.disk_info('/old/disk'))
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
        self.prepare(driver_base.AGREED, base.disk_info(f'/dev/there/{name}'))
        (note,) = noted
        self.assertIn(f'/dev/here/{name}', note)

    def test_a_backing_file_that_all_hosts_have_the_same(self):
        cached = self.fake_nova('_try_fetch_image_cache')
        data = self.prepare(
            driver_base.AGREED,
            base.disk_info('/old/disk', 'qcow2', '/old/_base/0123'),
        )
        cached.assert_called_once()
        self.assertFalse(self.bases(data)['/old/disk'].whole)

    def test_without_an_agreement_it_is_novas(self):
        self.use_volumes('here')
        for terms in (None, handshake.Terms()):
            data = self.prepare(terms, base.disk_info('/dev/there/u_disk'))
            self.assertIsNone(handshake.read(data))
            self.assertEqual([], self.volumes)
            self.assertEqual(
                [(str(self.folder / 'u_disk'), 'raw', 1024)], self.made
            )
            (self.folder / 'disk.info').unlink()
            self.folder.rmdir()
            del self.made[:]

    def test_without_local_disks(self):
        data = self.prepare(driver_base.AGREED, is_shared_block_storage=True)
        self.assertEqual(driver_base.AGREED, handshake.read(data))
        self.assertEqual([], self.made)

    def test_a_failure_is_forgotten(self):
        """So that it is Nova's own code that runs at the next attempt."""
        self.folder.mkdir()
        self.assert_refused(
            compat.DestinationDiskExists,
            call=lambda: self.prepare(
                driver_base.AGREED, base.disk_info('/old/disk')
            ),
        )
        self.folder.rmdir()
        self.test_without_an_agreement_it_is_novas()
