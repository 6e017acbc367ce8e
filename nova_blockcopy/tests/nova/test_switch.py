# SPDX-License-Identifier: Apache-2.0
"""The guest, as it is carried over by Nova's own operation."""

import threading
from unittest import mock

import ddt
import libvirt
from nova.virt.libvirt import guest as nova_guest

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import transplant
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import switch
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import guests
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples


@ddt.ddt
class TestTravellingGuest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.domain = guests.Domain()
        self.guest = nova_guest.Guest(self.domain)

    def migrate(
        self,
        novas=guests.NOVAS,
        remote=guests.REMOTE,
        disks=guests.DISKS,
        **more,
    ):
        given = {
            'migrate_uri': 'tcp://host-b',
            'flags': libvirt.VIR_MIGRATE_LIVE
            | libvirt.VIR_MIGRATE_NON_SHARED_INC,
            'migrate_disks': [],
            'bandwidth': 3,
            **more,
        }
        switch.TravellingGuest(self.guest, remote, disks).migrate(
            'qemu+tcp://host-b/system', destination_xml=novas, **given
        )

    def sent(self):
        ((destination, params, flags),) = self.domain.migrated
        self.assertEqual('qemu+tcp://host-b/system', destination)
        return params, flags

    def test_the_disks_that_move_point_at_their_exports(self):
        self.migrate()
        params, _flags = self.sent()
        for name in ('destination_xml', 'persistent_xml'):
            found = domxml.disks(params[name])
            self.assertEqual([], guests.away_from_exports(found))

    def test_the_rest_is_as_nova_made_it(self):
        self.migrate()
        xml = self.sent()[0]['destination_xml']
        self.assertEqual(
            samples.image('/dev/disk/by-id/volume-there'),
            domxml.disks(xml)['vdb'].source,
        )
        self.assertIn('<console type="tcp"/>', xml)
        self.assertNotIn('<console type="pty"/>', xml)

    def test_what_is_passed_on(self):
        self.migrate()
        params, flags = self.sent()
        self.assertEqual('tcp://host-b', params['migrate_uri'])
        self.assertEqual(3, params['bandwidth'])
        self.assertTrue(flags & libvirt.VIR_MIGRATE_LIVE)

    def test_libvirt_is_told_that_it_is_safe(self):
        self.migrate()
        self.assertTrue(self.sent()[1] & libvirt.VIR_MIGRATE_UNSAFE)

    def test_libvirt_copies_no_disk(self):
        self.migrate()
        params, flags = self.sent()
        self.assertNotIn('migrate_disks', params)
        self.assertFalse(flags & libvirt.VIR_MIGRATE_NON_SHARED_INC)

    def test_without_flags(self):
        switch.TravellingGuest(
            self.guest, guests.REMOTE, guests.DISKS
        ).migrate('qemu+tcp://host-b/system', destination_xml=guests.NOVAS)
        self.assertEqual(libvirt.VIR_MIGRATE_UNSAFE, self.sent()[1])

    def test_a_disk_that_is_missing_from_novas_xml(self):
        """It is never sent with less than all of its exports."""
        error = self.assertRaises(
            exception.SwitchoverError,
            self.migrate,
            novas=samples.domain(samples.disk_xml('vda')),
        )
        self.assertIn('vdc', str(error))
        self.assertEqual([], self.domain.migrated)

    def test_a_disk_that_does_not_arrive_in_the_xml(self):
        """Whatever went wrong: the guest stays where it is."""
        self.fake(
            transplant, 'restore_disks', side_effect=lambda xml, *_more: xml
        )
        error = self.assertRaises(exception.SwitchoverError, self.migrate)
        self.assertIn('vda', str(error))
        self.assertEqual([], self.domain.migrated)

    def test_a_layer_that_does_not_arrive_in_the_xml(self):
        for layer in ('export-of-vda', 'content-of-vda'):
            self.assertIn(layer, guests.REMOTE)
            with mock.patch.object(
                transplant,
                'restore_disks',
                autospec=True,
                return_value=guests.REMOTE.replace(layer, 'other'),
            ):
                error = self.assertRaises(
                    exception.SwitchoverError, self.migrate
                )
            self.assertIn('vda', str(error))
        self.assertEqual([], self.domain.migrated)

    def test_all_else_of_the_guest_is_novas(self):
        guest = switch.TravellingGuest(self.guest, guests.REMOTE, guests.DISKS)
        self.assertEqual('instance-00000001', guest.name)


@ddt.ddt
class TestSwitch(base.TestCase):
    def setUp(self):
        super().setUp()
        self.domain = guests.Domain()
        self.cancelled = threading.Event()
        #: How often it had travelled when it was told that it had.
        self.arrived = []

    def operation(self, guest, device_names):
        """As Nova's is: it logs what happened and lets it through."""
        self.assertEqual([], device_names)
        guest.migrate('qemu+tcp://host-b/system', destination_xml=guests.NOVAS)

    def switch(self, operation=None):
        switch.Switch(
            operation=operation or self.operation,
            guest=nova_guest.Guest(self.domain),
            disks=guests.DISKS,
            arrived=lambda: self.arrived.append(len(self.domain.migrated)),
        )(guests.REMOTE, '', self.cancelled)

    def test_the_guest_travels(self):
        self.switch()
        self.assertEqual([1], self.arrived)
        ((_uri, params, flags),) = self.domain.migrated
        found = domxml.disks(params['destination_xml'])
        self.assertEqual([], guests.away_from_exports(found))
        self.assertTrue(flags & libvirt.VIR_MIGRATE_UNSAFE)

    @ddt.data(
        fakes.libvirt_error(message='no route'),
        compat.MigrationError(reason='no route'),
        KeyError('no route'),
    )
    def test_a_failure_of_novas_part(self, error):
        self.domain.error = error
        raised = self.assertRaises(exception.SwitchoverError, self.switch)
        self.assertIn('no route', str(raised))
        self.assertIn('instance-00000001', str(raised))
        self.assertIs(error, raised.__cause__)
        self.assertEqual([], self.arrived)

    def test_a_failure_after_somebody_asked_for_it(self):
        self.domain.error = fakes.libvirt_error(message='cancelled by client')
        self.cancelled.set()
        raised = self.assertRaises(exception.Aborted, self.switch)
        self.assertIn('instance-00000001', str(raised))

    def test_an_abort_that_came_too_late(self):
        """The guest is over there: what follows takes it back."""
        self.cancelled.set()
        self.switch()
        self.assertEqual(1, len(self.domain.migrated))
