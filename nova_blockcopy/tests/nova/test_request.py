# SPDX-License-Identifier: Apache-2.0
"""Nova's request for a live migration, as the engine is asked for it."""

from typing import Any

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.nova import config_drive
from nova_blockcopy.nova import messages
from nova_blockcopy.nova import request
from nova_blockcopy.nova import switch
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

ROOT = '/dev/vg/root'
BASE = model.BaseRequest(path='/dev/there/root', format=samples.RAW)
HOME = model.Endpoint(uri='qemu+tcp://host-a/system')
AWAY = model.Endpoint(uri='qemu+tcp://host-b/system')


def disk(target: str, path: str, *, device: str = 'disk', more: str = ''):
    return samples.disk_xml(
        target,
        f'<source dev="{path}"/><backingStore/>',
        device=device,
        more=more,
    )


XML = samples.domain(
    disk('vda', ROOT),
    disk('vdb', '/dev/disk/by-id/volume'),
    disk('sda', '/dev/cd', device='cdrom', more='<readonly/>'),
)


def asked(**changes: Any) -> request.LiveMigrationRequest:
    values: dict[str, Any] = {
        'guest': samples.UUID,
        'dest': base.THERE,
        'bases': {ROOT: BASE},
        'home': HOME,
        'destination': AWAY,
        **changes,
    }
    return request.LiveMigrationRequest(**values)


class TestRequest(base.TestCase):
    def test_the_engine_knows_disks_by_their_targets(self):
        made = asked().for_engine(domxml.disks(XML))
        self.assertEqual({'vda': BASE}, made.bases)
        self.assertEqual(samples.UUID, made.guest)
        self.assertEqual(base.THERE, made.peer)
        self.assertEqual((HOME, AWAY), (made.home, made.destination))

    def test_volumes_are_left_to_nova_and_read_only_disks_to_nobody(self):
        made = asked().for_engine(domxml.disks(XML))
        self.assertEqual(['vdb'], list(made.shared))

    def test_a_drive_that_is_no_disk_has_no_base(self):
        bases = {ROOT: BASE, '/dev/cd': BASE}
        made = asked(bases=bases).for_engine(domxml.disks(XML))
        self.assertEqual({'vda': BASE}, made.bases)

    def test_local_disks(self):
        found = request.local_disks(domxml.disks(XML), [ROOT, '/dev/cd'])
        self.assertEqual(['vda'], found)


class TestService(base.TestCase):
    """The engine's migration, which the service makes of a request."""

    def setUp(self):
        super().setUp()
        self.sent: list[Any] = []
        self.fake(
            messages.RemoteDriver,
            'write_config_drive',
            side_effect=lambda _self, *given: self.sent.append(given),
        )
        self.switched: list[Any] = []

    def migration(self, xml):
        service = self.service(fakes.Connection(fakes.Machine(xml)))
        channel: Any = None
        return service.live_migration(
            asked(), channel, self.new_switch, lambda _now: None
        )

    def new_switch(self, *, disks):
        self.switched.append(disks)
        return switch.Switch(
            operation=lambda *_given: None,
            guest=None,
            disks=disks,
            arrived=lambda: None,
        )

    def test_it_is_yet_to_run(self):
        found = self.migration(XML)
        self.assertEqual('preparing', found.state)
        self.assertEqual([('vda',)], self.switched)
        self.assertEqual([], self.sent)

    def test_a_config_drive_is_sent_before(self):
        drive = self.directory / 'disk.config'
        drive.write_bytes(b'drive')
        self.migration(
            samples.domain(
                disk('vda', ROOT),
                disk('sda', str(drive), device='cdrom', more='<readonly/>'),
            )
        )
        self.assertEqual(
            [(samples.UUID, config_drive.pack(str(drive)))], self.sent
        )

    def test_a_guest_that_is_not_here(self):
        service = self.service(fakes.Connection())
        self.assertRaises(
            exception.BlockCopyError,
            service.live_migration,
            *(asked(), None, self.new_switch, lambda _now: None),
        )
        self.assertEqual([], self.switched)
