# SPDX-License-Identifier: Apache-2.0
"""The lines of the driver: the instance, the request, and the level."""

import ddt
import fixtures
from oslo_context import context as oslo_context

from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import database
from nova_blockcopy.nova import memo
from nova_blockcopy.nova import patience
from nova_blockcopy.nova import reconcile
from nova_blockcopy.runtime import log
from nova_blockcopy.runtime import task
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import driver_base
from nova_blockcopy.tests.nova import migrations
from nova_blockcopy.tests.nova import reconcile_base
from nova_blockcopy.tests.unit import lines
from nova_blockcopy.tests.unit import samples

LOG = log.getLogger('nova_blockcopy.tests')
REQUEST = 'req-11111111-aaaa-bbbb-cccc-555555555555'


def forget_request():
    if oslo_context.get_current() is not None:
        del oslo_context._request_store.context


@ddt.ddt
class TestLiveMigration(driver_base.LiveMigrationTestCase):
    def setUp(self):
        super().setUp()
        self.lines = self.useFixture(lines.Lines())
        self.addCleanup(forget_request)
        self.context.request_id = REQUEST
        self.context.update_store()
        self.nova.act('live-migration', REQUEST)

    def logged(self, error):
        """Migrate with an engine that logs a line, and ends so."""

        def act(_migration):
            LOG.info('engine')
            work = task.Task('work', lambda _cancelled: LOG.info('task'))
            self.assertTrue(work.wait(30))
            if error is not None:
                raise error

        self.act = act
        self.migrate()

    @ddt.data(None, migrations.ABORTED, migrations.FAILED)
    def test_the_engine_in_novas_thread(self, error):
        self.logged(error)
        texts = [each.text for each in self.lines.all]
        self.assertIn('engine', texts)
        self.assertIn('task', texts)
        for each in self.lines.all:
            self.assertEqual(samples.UUID, each.instance, each.whole)
            self.assertIn(REQUEST, each.request, each.whole)

    def test_an_abort_is_no_warning(self):
        self.logged(migrations.ABORTED)
        self.assertEqual([], self.lines.of('WARNING', 'ERROR'))
        self.assertIn(str(migrations.ABORTED), self.lines.of('INFO'))

    def test_a_failure_is_one_warning(self):
        self.logged(migrations.FAILED)
        self.assertEqual([str(migrations.FAILED)], self.lines.of('WARNING'))

    def test_a_stuck_one_is_one_error(self):
        self.act = self.raises(migrations.STUCK)
        self.assertRaises(compat.MigrationError, self.migrate)
        self.assertEqual([str(migrations.STUCK)], self.lines.of('ERROR'))

    def test_a_message_names_its_guest(self):
        """An answer runs in a thread of Nova's RPC."""
        message = {'operation': 'seed', 'guest': samples.UUID}
        self.driver.check_instance_shared_storage_remote(
            self.context, {channel.KEY: {**message, 'migration': 'm1'}}
        )
        (line,) = self.lines.all
        self.assertEqual(samples.UUID, line.instance)
        self.assertIn(REQUEST, line.request)

    def test_the_request_is_in_the_journal(self):
        made = memo.make(
            self.context, self.instance, self.said(None), self.post
        )
        packed = memo.pack(made)
        self.assertEqual(REQUEST, memo.request_id(packed))
        self.assertEqual('', memo.request_id({}))


class TestSettling(reconcile_base.ReconcileTestCase):
    def setUp(self):
        super().setUp()
        self.lines = self.useFixture(lines.Lines())
        self.addCleanup(forget_request)

    def test_it_belongs_to_the_request_of_the_migration(self):
        self.crashed(memo={'request_id': REQUEST})
        self.run_it()
        self.assertEqual([('back', samples.UUID, base.THERE)], self.ended)
        for each in self.lines.all:
            self.assertEqual(samples.UUID, each.instance, each.whole)
            self.assertIn(REQUEST, each.request)
            self.assertNotIn(samples.UUID, each.text)

    def test_another_guest_has_another_request(self):
        self.crashed(memo={'request_id': REQUEST})
        self.crashed(guest=reconcile_base.OTHER)
        self.run_it()
        found = {each.instance: each.request for each in self.lines.all}
        self.assertEqual({samples.UUID, reconcile_base.OTHER}, {*found})
        self.assertIn(REQUEST, found[samples.UUID])
        self.assertNotIn(REQUEST, found[reconcile_base.OTHER])

    def test_messages_have_the_request_too(self):
        database.begin_request(REQUEST)
        self.assertEqual(REQUEST, database.admin_context().request_id)

    def test_a_failure_is_logged_when_it_changes(self):
        self.gone_over(peer='host-c')
        it = reconcile.Reconciler(self.engine, self.manager)
        for _attempt in range(3):
            self.assertFalse(it._try(samples.UUID))
        said = self.lines.of('WARNING')
        self.assertEqual(
            [
                'The migration to host-c has stopped in state releasing, and '
                'is settled now',
                'The migration to host-c cannot be settled yet and will be '
                'tried again. Until then nothing of it is started or '
                'removed. Reason: The other host failed to finish: no answer '
                'from host-c (no answer). See the log of nova-compute there.',
            ],
            said,
        )
        self.assertEqual(2, self.lines.of('DEBUG').count(said[-1]))


class TestPatience(base.TestCase):
    def test_each_pause_doubles_the_last_one(self):
        now = [100.0]
        self.useFixture(fixtures.MonkeyPatch('time.monotonic', lambda: now[0]))
        it = patience.Patience(10, 60)
        self.assertTrue(it.over)
        for pause in (10, 20, 40, 60, 60):
            it.failed()
            now[0] += pause - 1
            self.assertFalse(it.over)
            now[0] += 1
            self.assertTrue(it.over)
