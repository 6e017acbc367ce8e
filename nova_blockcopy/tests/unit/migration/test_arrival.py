#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""One guest on its way to a host: what must not happen on it."""

import threading

import ddt

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.migration import world


def unwatched(_state, _disks):
    pass


class ArrivalTestCase(world.WorldTestCase):
    def setUp(self):
        super().setUp()
        self.far = self.remote()
        self.released = threading.Event()
        self.addCleanup(self.released.set)

    def arrive(self, **attributes):
        """Prepare the destination, and have the guest run there."""
        moves = self.prepare(self.far)
        xml = domxml.point_at_exports(
            self.home_xml,
            moves,
            {disk: (samples.export(disk),) for disk in self.disks},
        )
        self.guest = fakes.Machine(xml, xml)
        for name, value in attributes.items():
            setattr(self.guest, name, value)
        self.b.machines[samples.UUID] = self.guest

    def copy(self):
        self.far.copy(
            self.home_xml,
            0,
            unwatched,
            self.cancelled,
            synchronous_writes=False,
        )

    def pivot(self):
        self.far.pivot(unwatched)

    def give_back(self):
        self.far.give_back(
            model.Endpoint(uri=world.HOME), self.home_xml, self.home_xml
        )

    def slow(self, *_arguments):
        """Takes until the test ends, or lets it."""
        self.entered.set()
        self.released.wait()

    entered: threading.Event

    def slow_check(self):
        """Have the destination's check take until it is released."""
        before = set(threading.enumerate())
        self.entered = threading.Event()
        self.b.on_version = self.slow
        # asked for, but not waited for
        self.cancelled.set()
        self.refused(exception.Aborted, self.prepare, self.far)
        self.assertTrue(self.entered.wait(30))
        (self.check,) = set(threading.enumerate()) - before
        # the cleanups go backwards: it is released before it is joined
        self.addCleanup(self.check.join, 30)
        self.addCleanup(self.released.set)


@ddt.ddt
class TestPrepare(ArrivalTestCase):
    def test_the_journal_of_the_destination(self):
        moves = self.prepare(self.far)
        record = self.record('b')
        self.assertEqual(
            ('m1', 'guest', 'destination', 'host-a', 'preparing', moves),
            (
                record.migration,
                record.name,
                record.role,
                record.peer,
                record.state,
                record.moves,
            ),
        )
        self.assertEqual(model.Role.SOURCE, record.authority)

    def test_a_dry_run_begins_nothing(self):
        wet = self.prepare(self.far)
        self.far.discard()
        self.assertEqual(wet, self.prepare(self.far, dry_run=True))
        self.assertIsNone(self.record('b'))

    @ddt.data(True, False)
    def test_only_one_host_has_tls(self, tls):
        self.options = {'export_tls': not tls}
        self.restart_destination()
        self.refused(
            exception.EncryptionDiffers, self.prepare, self.far, False, tls
        )
        self.assertIsNone(self.record('b'))

    def test_what_is_discarded_begins_no_journal_later_on(self):
        self.slow_check()
        self.far.discard()
        self.released.set()
        self.check.join(30)
        self.assertFalse(self.check.is_alive())
        self.assertIsNone(self.record('b'))

    def test_one_thing_at_a_time(self):
        self.slow_check()
        self.cancelled.clear()
        error = self.refused(exception.PeerError, self.prepare, self.far)
        self.assertIn('prepare still runs', str(error))


class TestCopyAndPivot(ArrivalTestCase):
    def test_states_and_figures_can_be_read_after_a_restart(self):
        self.arrive()
        self.copy()
        self.assertEqual('ready', self.record('b').state)
        self.restart_destination()
        self.pivot()
        self.assertEqual(('vda', 'vdb'), self.far.pivoted(30))
        record = self.record('b')
        self.assertEqual('releasing', record.state)
        self.assertEqual(model.Role.DESTINATION, record.authority)
        self.far.finish()
        self.assertIsNone(self.record('b'))

    def test_the_definition_is_settled_but_for_its_disks_left_alone(self):
        self.arrive()
        self.guest.definition = self.guest.xml.replace('65536', '77777')
        self.copy()
        self.pivot()
        defined = self.guest.definition
        self.assertIn('77777', defined)
        self.assertEqual(
            [self.path('b', disk) for disk in self.disks],
            [
                disk.source.path
                for disk in domxml.disks(defined).values()
                if isinstance(disk.source, model.Image)
            ],
        )

    def test_a_definition_that_does_not_take_it_is_no_success(self):
        self.arrive()
        self.guest.follows = False
        self.copy()
        self.b.deaf = True
        error = self.refused(exception.JobFailed, self.pivot)
        self.assertIn('persistent definition', str(error))
        record = self.record('b')
        self.assertEqual('pivoting', record.state)
        self.assertEqual(model.Role.SOURCE, record.authority)
        self.assertEqual(('vda', 'vdb'), record.pivoted)


class TestWayBack(ArrivalTestCase):
    def test_copies_are_ended_before_the_guest_goes(self):
        self.arrive()
        self.copy()
        self.far.abort()
        self.assertEqual({}, self.guest.jobs)
        self.assertEqual('undoing', self.record('b').state)
        self.give_back()
        self.assertEqual({}, self.b.machines)
        self.assertEqual(self.home_xml, self.a.machines[samples.UUID].xml)
        self.far.discard()
        self.assertIsNone(self.record('b'))

    def test_a_copy_that_does_not_end_is_not_aborted_over(self):
        self.options = {'call_timeout': 1}
        self.restart_destination()
        self.arrive()
        self.entered = threading.Event()

        def on_read():
            # the driver has time limits of its own, the task has none
            if threading.current_thread().name == 'blockcopy-copy':
                self.slow()

        self.b.on_read = on_read
        # asked for, but not waited for
        self.cancelled.set()
        self.refused(exception.Aborted, self.copy)
        self.assertTrue(self.entered.wait(30))
        error = self.refused(exception.PeerError, self.far.abort)
        self.assertIn('copy does not end', str(error))
        self.assertEqual('copying', self.record('b').state)

    def test_once_a_disk_lives_here_it_is_too_late(self):
        self.arrive()
        self.copy()
        self.pivot()
        for back in (self.give_back, self.far.discard):
            before = self.record('b')
            self.assertRaises(exception.BlockCopyError, back)
            self.assertEqual(before, self.record('b'))
        self.assertEqual([], self.b.migrations)

    def test_a_disk_that_lives_here_unnoticed_is_noticed(self):
        self.arrive()
        self.copy()
        # the pivot happened, but its answer was lost
        self.guest.pivot('vdb')
        error = self.refused(exception.TooLate, self.far.abort)
        self.assertIn('vdb', str(error))
        error = self.refused(exception.TooLate, self.give_back)
        self.assertIn('vdb', str(error))
        self.assertEqual([], self.b.migrations)
        self.assertIn(samples.UUID, self.b.machines)
