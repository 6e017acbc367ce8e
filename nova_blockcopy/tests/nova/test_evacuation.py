# SPDX-License-Identifier: Apache-2.0
"""An instance is not built where its guest runs somewhere else."""

from typing import Any

import ddt
import oslo_messaging
from nova import objects

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import driver_base
from nova_blockcopy.tests.unit import samples


@ddt.ddt
class TestThirdHost(driver_base.DriverTestCase):
    """The driver here is that of neither host of the migration."""

    def setUp(self):
        super().setUp()
        self.stock = self.fake_nova('spawn')
        self.instance = base.instance(task_state='rebuild_spawning')
        self.migrations: list[Any] = []
        self.moved('running')
        self.fake(
            objects.MigrationList,
            'get_by_filters',
            side_effect=lambda *_args, **_more: self.migrations,
        )
        #: What the destination's driver is.
        self.there = self.service()
        self.service_there: Any = objects.Service(forced_down=False)
        self.fake(
            objects.Service,
            'get_by_compute_host',
            side_effect=lambda *_args, **_more: self.service_there,
        )
        self.answers = True
        self.fake(compat, 'ComputeAPI')
        api = compat.ComputeAPI.return_value
        api.check_instance_shared_storage.side_effect = self.answer

    def moved(self, status, dest=base.THERE):
        self.migrations.append(
            objects.Migration(
                id=len(self.migrations), status=status, dest_compute=dest
            )
        )

    def answer(self, context, data, instance=None, host=None):
        self.assertEqual(base.THERE, host)
        if not self.answers:
            raise oslo_messaging.MessagingTimeout('no answer')
        return self.there.answer(data[channel.KEY])

    def test_a_guest_that_has_come_back_does_not_need_it(self):
        """Only Nova's removal of the bases is left there."""
        self.there.journal.open(
            base.record(model.Role.DESTINATION, states.State.SETTLED)
        )
        self.assertFalse(self.there.is_guarded(samples.UUID))

    def spawn(self):
        self.driver.spawn(self.context, self.instance, 'meta', [], 'pw', {})

    def assert_refused_to_build(self, *words):
        self.assert_refused(
            compat.MigrationError,
            *(samples.UUID, base.THERE, *words),
            call=self.spawn,
        )
        self.stock.assert_not_called()

    def assert_built(self):
        self.spawn()
        self.stock.assert_called_once()

    def journal_there(self):
        directory = str(self.directory / 'there')
        self.conf.config(group='blockcopy', journal_dir=directory)
        self.there = self.service()
        self.there.journal.open(
            base.record(model.Role.DESTINATION, states.State.COPYING)
        )

    @ddt.data('running', 'error')
    def test_its_guest_may_run_there(self, status):
        self.moved(status)
        self.journal_there()
        self.assert_refused_to_build('journal')

    def test_its_guest_does_not_run_there(self):
        self.assert_built()

    @ddt.data('preparing', 'running')
    def test_nobody_knows(self, status):
        self.moved(status)
        self.answers = False
        self.assert_refused_to_build('does not answer')

    def test_nobody_knows_but_it_is_long_ago(self):
        self.moved('error')
        self.answers = False
        self.assert_built()

    @ddt.data(None, objects.Service(forced_down=True))
    def test_an_administrator_has_fenced_the_host(self, found):
        self.answers = False
        self.service_there = found
        self.assert_built()

    def test_a_destination_without_us(self):
        api = compat.ComputeAPI.return_value
        api.check_instance_shared_storage.side_effect = (
            lambda *_args, **_more: False
        )
        self.assert_built()

    def test_it_never_moved(self):
        self.migrations = []
        self.answers = False
        self.assert_built()

    def test_a_new_instance(self):
        """Nothing is asked for it."""
        self.instance = base.instance(task_state='spawning')
        self.journal_there()
        self.assert_built()
