# SPDX-License-Identifier: Apache-2.0
"""The migrations that a crash has interrupted, and their attempts."""

import pathlib
import threading

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.migration import control
from nova_blockcopy.migration import peer
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import reconcile
from nova_blockcopy.nova import settlement
from nova_blockcopy.records import report
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import reconcile_base
from nova_blockcopy.tests.unit import lines
from nova_blockcopy.tests.unit import samples

OTHER = reconcile_base.OTHER
State = states.State


class TestReconcile(reconcile_base.ReconcileTestCase):
    def test_nothing_was_left(self):
        home = pathlib.Path(self.engine.journal.path(OTHER)).parent
        home.mkdir(parents=True, exist_ok=True)
        (home / '.unfinished').touch()
        self.run_it()
        self.assertEqual([], self.ended)
        self.assertEqual([home / 'control'], list(home.iterdir()))

    def test_back_to_the_source(self):
        self.crashed()
        self.run_it()
        self.assertEqual([('back', samples.UUID, base.THERE)], self.ended)
        self.assertEqual([], self.left())

    def test_an_operator_reads_why_it_has_failed(self):
        record = self.crashed(peer='host-c')
        self.run_it()
        found = report.Reports(self.engine.settings.journal_dir).find(
            samples.UUID, record.migration
        )
        assert found is not None and found.failure is not None
        self.assertIn('no answer from host-c', found.failure.reason)

    def start_it(self):
        """Start as the driver does, which goes on in the background."""
        it = reconcile.Reconciler(self.engine, self.manager)
        it.go_on(it.run())

    def order(self, guest=samples.UUID):
        channel = control.Local(
            self.engine.settings.journal_dir, control.SERVICE, 30.0
        )
        return peer.ask(channel, control.SETTLE, guest)

    def relay(self, to=base.THERE, **message):
        channel = control.Local(
            self.engine.settings.journal_dir, control.SERVICE, 30.0
        )
        return peer.ask(
            *(channel, control.RELAY, samples.UUID),
            to=to,
            message={'guest': samples.UUID, 'migration': 'm1', **message},
        )

    def test_a_question_of_a_command_is_passed_on(self):
        self.start_it()
        answer = self.relay(operation='status')['answer']
        self.assertEqual(
            ('off', True), (answer['power'], answer['task']['done'])
        )

    def test_a_host_that_gives_a_command_no_answer(self):
        self.start_it()
        error = self.assertRaises(
            exception.PeerError, self.relay, 'host-c', operation='status'
        )
        self.assertIn('no answer from host-c', str(error))

    def test_an_order_of_a_command_is_not_passed_on(self):
        self.start_it()
        for operation in ('discard', 'pivot', ''):
            error = self.assertRaises(
                exception.PeerError, self.relay, operation=operation
            )
            self.assertIn('only appraise and status', str(error))

    def test_an_operator_has_it_tried_now(self):
        self.patch(reconcile, '_PAUSE', 3600)
        self.silences = 1
        self.crashed()
        self.start_it()
        self.assertEqual([samples.UUID], self.left())
        self.assertEqual({'settled': True}, self.order())
        self.assertEqual([('back', samples.UUID, base.THERE)], self.ended)
        self.assertEqual([], self.left())

    def test_an_operator_hears_that_it_has_failed_again(self):
        self.patch(reconcile, '_PAUSE', 3600)
        self.crashed(peer='host-c')
        self.start_it()
        self.assertEqual({'settled': False}, self.order())
        self.assertEqual([samples.UUID], self.left())
        self.silences = 0
        self.engine.journal.close(samples.UUID)
        self.assertEqual({'settled': True}, self.order())

    def test_what_is_not_to_be_settled_is_left_alone(self):
        self.run_it()
        self.assertRaises(exception.MigrationLocked, self.order)

    def test_on_to_the_destination(self):
        self.gone_over()
        self.run_it()
        self.assertEqual([('there', samples.UUID, base.THERE)], self.ended)
        self.assertEqual([], self.left())
        self.assertIn((base.THERE, 'finish', samples.UUID), self.asked)

    def test_a_failure_leaves_the_journal_and_the_next_one_is_settled(self):
        log = self.useFixture(lines.Lines())
        for first, second in (
            (samples.UUID, OTHER),
            (OTHER, samples.UUID),
        ):
            kept = self.gone_over(guest=first, peer='host-c')
            self.crashed(guest=second)
            self.assertEqual([first], self.run_it())
            self.assertEqual([('back', second, base.THERE)], self.ended)
            self.assertEqual([first], self.left())
            found = self.found(first)
            self.assertEqual(model.Role.DESTINATION, found.authority)
            self.assertEqual(kept.migration, found.migration)
            (said,) = (each for each in log.all if 'tried again' in each.text)
            self.assertEqual(('WARNING', first), (said.level, said.instance))
            del log.all[:]
            self.engine.journal.close(first)
            del self.ended[:]

    def test_it_is_settled_at_the_next_start(self):
        self.gone_over(peer='host-c')
        self.run_it()
        self.assertEqual([samples.UUID], self.left())
        kept = self.found()
        self.engine.journal.close(samples.UUID)
        # host-c is back
        self.gone_over(peer=base.THERE, migration=kept.migration)
        self.run_it()
        self.assertEqual([], self.left())
        self.assertEqual([('there', samples.UUID, base.THERE)], self.ended)

    def test_the_destination_leaves_it_to_the_source(self):
        self.crashed(role=model.Role.DESTINATION)
        self.assertEqual([], self.run_it())
        self.assertEqual([], self.asked)
        self.assertEqual([], self.ended)
        self.assertEqual([samples.UUID], self.left())

    def rolled_back_here(self, **values):
        """Start again where the guest was to come to, and did not."""
        self.facts = {'host': base.THERE}
        self.migrations = [
            reconcile_base.migration(
                dest_compute=base.HERE, source_compute=base.THERE
            )
        ]
        self.crashed(
            role=model.Role.DESTINATION, state=State.SETTLED, **values
        )
        self.run_it()
        return self.manager.rollback_live_migration_at_destination

    def test_the_destination_removes_its_bases(self):
        """Nova does not know whether its order has arrived."""
        ordered = self.rolled_back_here()
        ordered.assert_called_once()
        self.assertTrue(ordered.call_args.kwargs['destroy_disks'])
        data = ordered.call_args.kwargs['migrate_data']
        self.assertTrue(handshake.agreed(data))

    def test_the_destination_keeps_what_has_come(self):
        ordered = self.rolled_back_here(authority=model.Role.DESTINATION)
        ordered.assert_not_called()

    def test_the_destination_of_a_deleted_instance(self):
        self.deleted = True
        self.rolled_back_here().assert_not_called()
        self.assertEqual([samples.UUID], self.cleared)
        self.assertEqual([], self.left())

    def test_the_destination_of_an_instance_that_nova_has_there(self):
        self.facts = {'host': base.HERE}
        self.crashed(role=model.Role.DESTINATION, state=State.SETTLED)
        self.assertEqual([samples.UUID], self.run_it())
        self.assertIn('has not come here', self.log.output)
        self.assertEqual([samples.UUID], self.left())

    def test_a_failure_of_novas_part_does_not_stop_the_next_one(self):
        self.manager._rollback_live_migration.side_effect = KeyError('broke')
        self.crashed()
        self.gone_over(guest=OTHER)
        self.run_it()
        self.assertEqual([('there', OTHER, base.THERE)], self.ended)
        self.assertIn('broke', self.log.output)
        # and what it left half done stays guarded
        self.assertEqual([samples.UUID], self.left())
        self.assertIsNotNone(self.engine.guard.record(samples.UUID))

    def test_a_journal_that_cannot_be_read_does_not_stop_the_next_one(self):
        self.crashed()
        broken = pathlib.Path(self.engine.journal.path(OTHER))
        broken.write_text('{')
        # no time will heal it
        self.assertEqual([], self.run_it())
        self.assertEqual([('back', samples.UUID, base.THERE)], self.ended)
        self.assertEqual([OTHER], self.left())

    def test_nova_has_the_instance_where_its_guest_is_not(self):
        """The guards must stay, or it would be started here again."""
        self.migrations = [reconcile_base.migration(status='completed')]
        self.gone_over()
        self.run_it()
        self.assertEqual([samples.UUID], self.left())
        self.assertIsNotNone(self.engine.guard.record(samples.UUID))

    def test_nova_knows_of_no_migration_any_more(self):
        """It is settled all the same, and Nova is left alone."""
        self.migrations = [reconcile_base.migration(status='completed')]
        self.crashed()
        self.run_it()
        self.assertEqual([], self.ended)
        self.assertEqual([], self.left())
        self.assertIn('source', self.log.output)


class TestLater(reconcile_base.ReconcileTestCase):
    """What cannot be settled at the start is settled by itself later."""

    def go_on(self, *guests):
        it = reconcile.Reconciler(self.engine, self.manager)
        it.go_on(guests)
        return it

    def wait(self):
        self.assertTrue(waiting.until(lambda: not self.left(), timeout=30))

    def test_the_other_host_comes_back(self):
        self.silences = 3
        self.crashed()
        self.go_on(samples.UUID)
        self.wait()
        self.assertEqual([('back', samples.UUID, base.THERE)], self.ended)

    def test_nova_compute_starts_while_a_host_does_not_answer(self):
        """A service manager would end and start it for ever."""
        answers = threading.Event()
        self.addCleanup(answers.set)
        settle = settlement.Settler.settle

        def slowly(settler, found):
            answers.wait(30)
            settle(settler, found)

        self.fake(settlement.Settler, 'settle', side_effect=slowly)
        self.crashed()
        it = reconcile.Reconciler(self.engine, self.manager)
        left = it.run(patience=0.01)
        self.assertEqual({samples.UUID}, left)
        self.assertEqual([], self.ended)
        it.go_on(left)
        answers.set()
        self.wait()
        self.assertEqual([('back', samples.UUID, base.THERE)], self.ended)
        self.assertIn('starts in the meantime', self.log.output)

    def test_one_comes_while_another_is_waited_for(self):
        self.crashed()
        self.gone_over(guest=OTHER, peer='host-c')
        it = self.go_on(OTHER)
        it.go_on([samples.UUID])
        self.assertTrue(waiting.until(lambda: bool(self.ended), timeout=30))
        self.assertEqual([OTHER], self.left())
        self.engine.journal.close(OTHER)

    def test_one_comes_after_all_are_settled(self):
        self.crashed()
        it = self.go_on(samples.UUID)
        self.wait()
        self.gone_over(guest=OTHER)
        it.go_on([OTHER])
        self.wait()
        self.assertEqual(
            [
                ('back', samples.UUID, base.THERE),
                ('there', OTHER, base.THERE),
            ],
            self.ended,
        )
