# SPDX-License-Identifier: Apache-2.0
"""What the drivers of two hosts ask each other."""

from nova import objects

from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import driver_base
from nova_blockcopy.tests.unit import samples


class TestDeleted(driver_base.DriverTestCase):
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
