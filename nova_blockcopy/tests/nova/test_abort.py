# SPDX-License-Identifier: Apache-2.0
"""An abort that Nova's API asks for."""

from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.nova import compat
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import driver_base
from nova_blockcopy.tests.nova import migrations
from nova_blockcopy.tests.unit import fakes

State = states.State


class TestLiveMigrationAbort(driver_base.LiveMigrationTestCase):
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
            raise migrations.ABORTED

        self.act = act
        self.migrate()
        self.assertEqual([1], moved)
        self.assertEqual([('cancelled', base.THERE)], self.ended)
        self.stock.assert_not_called()

    def test_in_the_switchover_libvirt_is_told_too(self):
        def act(_moving):
            self.at(State.SWITCHING)
            self.abort()
            raise migrations.ABORTED

        self.act = act
        self.migrate()
        self.assertEqual([('cancelled', base.THERE)], self.ended)
        self.stock.assert_called_once_with(self.driver, self.instance)

    def test_a_switchover_that_has_just_ended(self):
        self.stock.side_effect = fakes.libvirt_error(message='no job')

        def act(_moving):
            self.at(State.SWITCHING)
            self.abort()
            raise migrations.ABORTED

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
