# SPDX-License-Identifier: Apache-2.0
"""Whatever a crash left half done comes to an end, and to the right one."""

import base64
import dataclasses
import zlib

import ddt
import fixtures
import libvirt

from nova_blockcopy import domxml
from nova_blockcopy import events
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.host import boot
from nova_blockcopy.host import firmware
from nova_blockcopy.migration.source import recovery
from nova_blockcopy.migration.source import steps
from nova_blockcopy.records import journal
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.migration import world

State = states.State
TAKE_BACK = steps.take_back

#: As the other host packs b'state'.
PACKED = base64.b64encode(zlib.compress(b'state')).decode()


@ddt.ddt
class TestSettle(world.WorldTestCase):
    def settle(self):
        """Nobody remembers anything but the journals."""
        self.restart_destination()
        record = self.record('a')
        assert record is not None
        side = recovery.settle(
            record,
            self.a.hypervisor('host-a'),
            self.channel(),
            self.host_settings('a'),
            [self.told.append],
        )
        # whoever asked for it closes the journal
        at = journal.Journal(str(self.directory / 'a' / 'journal'))
        self.assertIsNotNone(at.find(samples.UUID))
        at.close(samples.UUID)
        return side

    def rewrite(self, host, state):
        """As if the crash had come right after this was written down."""
        at = journal.Journal(str(self.directory / host / 'journal'))
        role = model.Role
        after = state is State.RELEASING
        record = dataclasses.replace(
            self.record(host),
            authority=role.DESTINATION if after else role.SOURCE,
        )
        at.write(record, state)

    def stick(self):
        at = journal.Journal(str(self.directory / 'a' / 'journal'))
        at.write(self.record('a'), State.STUCK)

    @ddt.data('preparing', 'exporting', 'switching', 'copying')
    def test_before_the_pivot_the_guest_goes_home(self, state):
        self.migration().run(through=State(state))
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assert_untouched()

    def test_on_the_way_back_it_goes_on(self):
        self.migration().run(through=State.COPYING)
        self.rewrite('a', State.UNDOING)
        self.rewrite('b', State.UNDOING)
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assert_untouched()

    def test_a_pivot_that_was_only_announced_is_taken_back(self):
        self.migration().run(through=State.COPYING)
        self.rewrite('a', State.PIVOTING)
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assert_untouched()

    def test_after_a_pivot_it_goes_forward(self):
        self.migration().run(through=State.PIVOTING)
        del self.told[:]
        self.assertEqual(model.Role.DESTINATION, self.settle())
        self.assert_arrived()
        (ended,) = (
            each for each in self.told if isinstance(each, events.Ended)
        )
        self.assertEqual(events.Outcome.COMPLETED, ended.outcome)

    def test_a_release_that_was_begun_is_done(self):
        self.migration().run(through=State.PIVOTING)
        self.rewrite('a', State.RELEASING)
        self.assertEqual(model.Role.DESTINATION, self.settle())
        self.assert_arrived()

    @ddt.data(*model.Role)
    def test_a_settled_one_is_the_callers(self, side):
        self.migration(held=True).run(through=State.COPYING)
        at = journal.Journal(str(self.directory / 'a' / 'journal'))
        record = at.write(self.record('a'), State.UNDOING, authority=side)
        at.write(record, State.SETTLED)
        del self.asked[:]
        self.assertEqual(side, self.settle())
        self.assertEqual([], self.asked)

    @ddt.data(State.COPYING, State.PIVOTING)
    def test_both_journals_are_held_for_the_caller(self, state):
        migration = self.migration(held=True)
        migration.run(through=state)
        self.restart_destination()
        here = self.a.hypervisor('host-a')
        settings = self.host_settings('a')
        side = recovery.settle(
            self.record('a'), here, self.channel(), settings
        )
        for host in 'ab':
            record = self.record(host)
            self.assertEqual('settled', record.state)
            self.assertEqual(side, record.authority)
        self.remote(record.migration).close(side)
        self.assertIsNone(self.record('b'))

    def test_half_a_pivot_goes_forward(self):
        self.migration().run(through=State.COPYING)
        self.pivot_one()
        self.assertEqual(model.Role.DESTINATION, self.settle())
        self.assert_arrived()

    def test_a_record_that_does_not_say_how_to_get_home(self):
        self.migration().run(through=State.COPYING)
        at = journal.Journal(str(self.directory / 'a' / 'journal'))
        at.write(dataclasses.replace(self.record('a'), home=None), State.READY)
        error = self.assertRaises(exception.JournalError, self.settle)
        self.assertIn('the address of this host', str(error))
        self.assertIn(samples.UUID, self.b.machines)

    def test_a_destination_that_is_silent_leaves_all_as_it_is(self):
        self.migration().run(through=State.COPYING)

        questions = []

        def silent(message):
            questions.append(message['operation'])
            raise exception.PeerError(operation='answer', reason='silence')

        self.on_message = silent
        self.assertRaises(exception.PeerError, self.settle)
        # each question takes a minute, and nova-compute starts meanwhile
        self.assertEqual(['status'], questions)
        self.assertIsNotNone(self.record('a'))
        self.on_message = self._ignore
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assert_untouched()

    @ddt.data('switching', 'copying')
    def test_a_guest_that_has_ended_is_at_home_with_all_it_wrote(self, state):
        self.migration().run(through=State(state))
        machine = self.b.machines[samples.UUID]
        self.write(machine, 'vda', 8192, 'w')
        machine.power_off()
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assertTrue(self.a.machines[samples.UUID].off)
        self.assert_untouched()

    def test_the_firmware_of_a_guest_that_has_ended_comes_home(self):
        """Before the destination forgets the guest."""
        self.migration().run(through=State.COPYING)
        self.b.machines[samples.UUID].power_off()
        written = []

        def write(guest, xml, files):
            self.assertIn(samples.UUID, self.b.machines)
            written.append((guest, domxml.guest_name(xml), files))

        for name, value in (
            ('read', lambda _guest, _xml: {'nvram': PACKED}),
            ('write', write),
        ):
            self.useFixture(
                fixtures.MonkeyPatch(f'{firmware.__name__}.{name}', value)
            )
        self.settle()
        self.assertEqual(
            [(samples.UUID, 'guest', {'nvram': b'state'})], written
        )
        self.assert_untouched()

    def test_a_pivot_that_nobody_noted_is_not_taken_back(self):
        self.migration().run(through=State.COPYING)
        self.rewrite('a', State.PIVOTING)
        machine = self.b.machines[samples.UUID]
        machine.pivot('vda')
        machine.power_off()
        error = self.assertRaises(exception.TooLate, self.settle)
        self.assertIn('vda', str(error))
        self.assertEqual({}, self.a.machines)
        self.assertIn(samples.UUID, self.b.machines)

    def test_a_pivoted_guest_is_not_forgotten(self):
        self.migration().run(through=State.COPYING)
        machine = self.b.machines[samples.UUID]
        machine.pivot('vda')
        machine.power_off()
        far = self.remote(self.record('b').migration)
        self.assertRaises(exception.TooLate, far.discard)
        self.assertIn(samples.UUID, self.b.machines)

    def test_after_a_release_all_that_is_left_is_to_close(self):
        self.migration().run(through=State.PIVOTING)
        self.rewrite('a', State.RELEASING)
        self.stick()
        # its answer was lost
        self.destination.handle(
            {
                'operation': 'finish',
                'guest': samples.UUID,
                'migration': self.record('b').migration,
            }
        )
        self.assertIsNone(self.record('b'))
        self.assertEqual(model.Role.DESTINATION, self.settle())
        self.assert_arrived()

    def lose_power(self):
        """The source is another one now, and its servers are gone."""
        self.useFixture(
            fixtures.MonkeyPatch(f'{boot.__name__}.current', lambda: 'second')
        )
        machine = self.b.machines[samples.UUID]
        for disk, job in machine.jobs.items():
            machine.carry(machine, disk, job)  # a mirror has done so by now
        machine.carry = self._ignore
        self.exporter.served.clear()
        machine.condition = (
            libvirt.VIR_DOMAIN_PAUSED,
            libvirt.VIR_DOMAIN_PAUSED_IOERROR,
        )
        self.b.on_resume = self._run_on
        return machine

    def _run_on(self, machine):
        machine.condition = (libvirt.VIR_DOMAIN_RUNNING, 1)

    def stranded(self, machine):
        """The guest neither goes on nor comes back, until it is ended."""
        for _time in range(2):
            error = self.assertRaises(exception.SourceRebooted, self.settle)
            self.assertIn('nova-blockcopy abandon guest', str(error))
        self.assertEqual(libvirt.VIR_DOMAIN_PAUSED, machine.condition[0])
        self.assertEqual([], self.exporter.revived)
        self.assertEqual({}, self.a.machines)
        self.assertEqual([], list(self.record('b').pivoted))
        machine.power_off()
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assertTrue(self.a.machines[samples.UUID].off)
        self.assert_untouched()

    @ddt.data('copying', 'ready', 'undoing', 'stuck')
    def test_a_rebooted_source_is_left_for_complete_bases(self, state):
        self.migration().run(through=State.COPYING)
        if state == 'copying':
            self.forget_ready()
        elif state != 'ready':
            self.rewrite('a', State(state))
        machine = self.lose_power()
        self.assertEqual(model.Role.DESTINATION, self.settle())
        self.assertEqual(libvirt.VIR_DOMAIN_RUNNING, machine.condition[0])
        self.assertEqual([], self.exporter.revived)
        self.assert_arrived()

    def forget_ready(self):
        """The source lost power before it heard that all were ready."""
        at = journal.Journal(str(self.directory / 'a' / 'journal'))
        record = dataclasses.replace(self.record('a'), state=State.COPYING)
        at.write(record, State.COPYING)

    def test_a_rebooted_source_gets_no_guest_that_has_just_moved(self):
        self.migration().run(through=State.SWITCHING)
        self.stranded(self.lose_power())

    @ddt.data('ended', 'behind')
    def test_a_rebooted_source_and_one_base_that_lacks_writes(self, how):
        """No disk pivots, so the guest can still start on the source."""
        self.migration().run(through=State.COPYING)
        machine = self.lose_power()
        if how == 'ended':
            del machine.jobs['vdb']
        else:
            machine.jobs['vdb'].total += 1
        self.stranded(machine)

    def test_a_rebooted_source_and_half_a_pivot(self):
        self.migration().run(through=State.COPYING)
        self.pivot_one()
        machine = self.lose_power()
        del machine.jobs['vdb']
        machine.on_start = self._no_export
        error = self.assertRaises(exception.SourceRebooted, self.settle)
        self.assertIn('page about journals', str(error))
        self.assertEqual([], self.exporter.revived)
        self.assertIn(samples.UUID, self.b.machines)

    def _no_export(self, disk):
        raise exception.DriverError(
            action='start a copy', disk=disk, reason='the export is gone'
        )

    def test_a_destination_gives_no_guest_to_a_rebooted_source(self):
        self.migration().run(through=State.COPYING)
        far = self.remote(self.record('b').migration)
        machine = self.lose_power()
        error = self.assertRaises(
            exception.PeerError,
            *(far.give_back, model.Endpoint(uri=world.HOME), 'xml', ''),
        )
        self.assertIn('the source was rebooted', str(error))
        self.assertIs(machine, self.b.machines[samples.UUID])

    def pivot_one(self):
        """The pivot is cut short after vda."""
        self.rewrite('a', State.PIVOTING)
        far = self.remote(self.record('b').migration)
        machine = self.b.machines[samples.UUID]
        machine.on_pivot = self._crash_after_vda
        self.assertRaises(exception.BlockCopyError, far.pivot, self._ignore)
        self.assertEqual(('vda',), self.record('b').pivoted)
        machine.on_pivot = self._ignore

    def _crash_after_vda(self, disk):
        if disk == 'vdb':
            raise SystemError('the process is gone')

    def _ignore(self, *_arguments):
        pass


@ddt.ddt
class TestSettleSeeded(world.Seeded, TestSettle):
    def setUp(self):
        super().setUp()
        self.steady_writes()

    @ddt.data(False, True)
    def test_a_guest_that_was_slowed_down_is_not_any_more(self, pivoted):
        self.options = {'max_remote_window': 0, 'seed_rounds': 1}
        self.migration().run(through=State.COPYING)
        machine = self.b.machines[samples.UUID]
        self.assertEqual(set(self.disks), set(self.record('b').limits))
        self.assertLess(0, machine.limits_of('vda')['write_bytes_sec'])
        if pivoted:
            self.pivot_one()
        self.settle()
        for disk in self.disks:
            self.assertEqual(
                dict.fromkeys(fakes.LIMITS, 0), machine.limits_of(disk)
            )
        if pivoted:
            self.assert_arrived()
        else:
            self.assert_untouched()

    @ddt.data('freezing', 'seeding', 'exporting')
    def test_a_frozen_guest_is_put_back(self, state):
        self.migration().run(through=State(state))
        self.assertEqual(2, len(self.overlays('a')))
        self.write(self.machine, 'vda', 8192, 'w')
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assert_untouched()

    @ddt.data('freezing', 'seeding', 'exporting')
    def test_a_frozen_guest_that_lost_power_has_all_it_wrote(self, state):
        self.migration().run(through=State(state))
        self.write(self.machine, 'vda', 8192, 'w')
        self.machine.power_off()
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assert_untouched()

    def test_a_frozen_guest_without_a_destination_is_put_back(self):
        self.migration().run(through=State.SEEDING)

        def silent(_message):
            raise exception.PeerError(operation='answer', reason='silence')

        self.on_message = silent
        self.assertRaises(exception.PeerError, self.settle)
        # the destination has not been told, but the guest is at home
        self.assertEqual([], self.overlays('a'))
        self.assert_content('a')
        self.assertIsNotNone(self.record('a'))
        self.on_message = self._ignore
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assert_untouched()

    @ddt.data('before', 'after')
    def test_power_lost_in_a_second_freeze(self, when):
        self.options = {'max_remote_window': 0, 'seed_rounds': 2}

        def crash(machine):
            if len(self.a.snapshots) == 2:
                self.write(machine, 'vdb', 8192, 'v')
                machine.power_off()
                raise SystemExit

        setattr(
            self.a,
            'on_snapshot' if when == 'before' else 'after_snapshot',
            crash,
        )
        # nobody takes anything back, as after a loss of power
        self.useFixture(
            fixtures.MonkeyPatch(f'{steps.__name__}.take_back', self._crash)
        )
        migration = self.migration()
        self.assertRaises(exception.MigrationStuck, migration.run)
        self.useFixture(
            fixtures.MonkeyPatch(f'{steps.__name__}.take_back', TAKE_BACK)
        )
        self.assertEqual(2, len(self.record('a').moves[0].deltas))
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assert_untouched()

    def _crash(self, *_arguments):
        raise SystemError('the process is gone')

    def test_the_authority_is_never_given_back(self):
        self.migration().run(through=State.PIVOTING)
        self.rewrite('a', State.RELEASING)
        self.stick()
        seen = set()
        self.on_message = lambda _message: seen.add(self.record('a').authority)
        self.settle()
        self.assertEqual({model.Role.DESTINATION}, seen)
        self.assert_arrived()

    @ddt.data('pivoting', 'releasing')
    def test_a_guest_that_ended_over_there_is_at_home_there(self, state):
        self.migration().run(through=State.PIVOTING)
        machine = self.b.machines[samples.UUID]
        self.write(machine, 'vdb', 8192, 'w')
        machine.power_off()
        self.rewrite('a', State(state))
        self.assertEqual(model.Role.DESTINATION, self.settle())
        self.assertEqual(
            [self.path('b', disk) for disk in self.disks],
            [
                getattr(disk.source, 'path', None)
                for disk in domxml.disks(machine.definition or '').values()
            ],
        )
        self.assert_content('b')
        self.assert_no_litter()

    def test_a_transient_guest_that_ended_over_there(self):
        self.machine.definition = None
        self.migration().run(through=State.PIVOTING)
        self.write(self.b.machines[samples.UUID], 'vdb', 8192, 'w')
        del self.b.machines[samples.UUID]
        self.assertEqual(model.Role.DESTINATION, self.settle())
        self.assert_content('b')
        self.assert_no_litter()
