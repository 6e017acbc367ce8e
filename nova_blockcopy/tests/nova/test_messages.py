# SPDX-License-Identifier: Apache-2.0
"""What the drivers of two hosts ask each other."""

from unittest import mock

from nova import objects

from nova_blockcopy import model
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import messages
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import driver_base
from nova_blockcopy.tests.unit import samples


class TestDeleted(driver_base.DriverTestCase):
    """What is left of an instance whose guest is on the other host."""

    def setUp(self):
        super().setUp()
        self.stock = self.fake_nova('cleanup')
        self.has_guest(False)

    def has_guest(self, present):
        found = {} if present else {'side_effect': compat.InstanceNotFound('')}
        self.driver._host.get_guest = mock.Mock(**found)

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

    def test_its_guest_is_here(self):
        self.has_guest(True)
        self.assert_refused(
            compat.MigrationError,
            *(samples.UUID, 'on this host'),
            call=lambda: self.remove(deleted=True, info_cache=None),
        )
        self.stock.assert_not_called()

    def test_the_journal_needs_its_disks(self):
        self.journal.open(base.record(model.Role.SOURCE))
        self.assert_refused(
            compat.MigrationError,
            *(samples.UUID, base.THERE),
            call=lambda: self.remove(deleted=True, info_cache=None),
        )
        self.stock.assert_not_called()

    def test_an_order_leaves_the_guard_on(self):
        """Also while the order is carried out, and if it comes twice."""
        self.journal.open(base.record(model.Role.SOURCE))
        service = self.driver._service
        service._remove = self.driver._remove_deleted
        seen = []

        def read(*_args, **_more):
            seen.append(service.guard.record(samples.UUID))
            return base.instance(deleted=False)

        self.fake(objects.Instance, 'get_by_uuid', side_effect=read)
        order = {
            'operation': messages.REMOVE_DELETED,
            'guest': samples.UUID,
            'migration': 'm',
        }
        for _n in range(2):
            answer = service.answer(order)
            self.assertEqual('PeerError', answer['error']['class'])
            self.assertIn('not deleted', answer['error']['message'])
        self.assertEqual(2, len(seen))
        self.assertNotIn(None, seen)


class TestMessages(driver_base.DriverTestCase):
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
