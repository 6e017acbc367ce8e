# SPDX-License-Identifier: Apache-2.0
"""One guest on its way to a host: what must not happen on it."""

import functools
import threading

import ddt
import libvirt

from nova_blockcopy import bandwidth
from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.records import journal
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import servers
from nova_blockcopy.tests.unit.migration import world

MIB = bandwidth.MIB
#: A version of QEMU with which a file needs no alignment.
NEW = 8_001_000
PAUSED = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER)


def unwatched(_state, _disks):
    pass


class OperationsTestCase(world.WorldTestCase):
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

    def copy(self, **wanted):
        values = {
            'synchronous_writes': False,
            'guest_bandwidth': 0,
            **wanted,
        }
        self.far.copy(self.home_xml, 0, unwatched, self.cancelled, **values)

    def pivot(self, **more):
        self.far.pivot(unwatched, **more)

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
class TestPrepare(OperationsTestCase):
    def test_the_journal_of_the_destination(self):
        moves = self.prepare(self.far)
        record = self.record('b')
        self.assertEqual(
            (
                *('m1', 'guest', 'destination', 'direct'),
                *('host-a', 'preparing', moves),
            ),
            (
                record.migration,
                record.name,
                record.role,
                record.mode,
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

    def test_exports_that_cannot_be_reached(self):
        port = servers.free_port()
        offered = model.Rehearsal(address='127.0.0.1', port=port, word='x')
        error = self.refused(
            exception.ExportsRefused,
            *(self.prepare, self.far, True, False, offered),
        )
        self.assertIn(f'port {port}', str(error))

    def test_a_directory_that_this_host_lacks(self):
        xml = self.home_xml.replace(
            '<devices>',
            '<devices><console type="file">'
            '<source path="/nowhere/at/console"/></console>',
        )
        error = self.refused(
            exception.GuestUnfit,
            *(self.prepare, self.far, True, False, None, xml),
        )
        self.assertIn('/nowhere/at', str(error))

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


class TestCopyAndPivot(OperationsTestCase):
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
        for _twice in range(2):
            self.far._ask('finish', keep=True)
            self.assertEqual('settled', self.record('b').state)
        self.refused(exception.TooLate, self.far.discard)
        self.far.close(model.Role.DESTINATION)
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

    def test_a_volume_keeps_its_path_on_this_host(self):
        """As Nova has it in the definition that it gives to libvirt."""
        there = samples.disk_xml('vdz', '<source dev="/dev/there"/>')
        self.home_xml = self.home_xml.replace(
            '</devices>', f'{there}</devices>'
        )
        self.arrive()
        self.guest.xml = self.guest.xml.replace('/dev/there', '/dev/here')
        self.guest.definition = self.guest.xml
        self.copy()
        self.pivot()
        for xml in (self.guest.definition, self.guest.xml):
            self.assertEqual('/dev/here', domxml.disks(xml)['vdz'].path)

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

    def test_a_refused_pivot_of_a_disk_that_has_to_follow(self):
        """libvirt permits at the start of a copy what the pivot needs."""
        started = self.start_and_refuse('vdb')
        # the exports may be gone, so the mirror stays
        self.refused(exception.PivotRefused, self.pivot)
        self.assertEqual({'vdb'}, set(self.guest.jobs))
        self.assertEqual(started, len(self.guest.started))
        self.pivot(again=True)
        self.assertEqual(('vda', 'vdb'), self.record('b').pivoted)
        again = [disk for disk, _image in self.guest.started[started:]]
        self.assertEqual(['vdb'], again)
        self.assertIn('are copied again', self.log.output)

    def test_a_refused_pivot_of_the_first_disk(self):
        started = self.start_and_refuse('vda')
        error = self.refused(
            exception.PivotRefused, functools.partial(self.pivot, again=True)
        )
        self.assertIn('Permission denied', str(error))
        self.assertEqual((), self.record('b').pivoted)
        self.assertEqual(started, len(self.guest.started))
        self.far.abort()

    def start_and_refuse(self, refused):
        """Copy all disks, then refuse a pivot until its copy starts again."""
        self.arrive()
        self.copy()
        started = len(self.guest.started)

        def on_pivot(disk):
            if disk == refused and len(self.guest.started) == started:
                raise exception.DriverError(
                    action='pivot', disk=disk, reason='Permission denied'
                )

        self.guest.on_pivot = on_pivot
        return started


@ddt.ddt
class TestAsTheBaseAllows(OperationsTestCase):
    """vda has a raw base, vdb one on top of another image."""

    def setUp(self):
        super().setUp()
        self.make_layered('vdb')

    def copied(self):
        """With what each copy was started: granularity and flags."""
        return {
            disk: (
                parameters[libvirt.VIR_DOMAIN_BLOCK_COPY_GRANULARITY],
                bool(flags & libvirt.VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES),
                bool(flags & libvirt.VIR_DOMAIN_BLOCK_COPY_SHALLOW),
            )
            for disk, _xml, parameters, flags in self.b.block_copies
        }

    @ddt.data(
        (7_002_000, 4096, False), (8_000_000, 4096, True), (NEW, 512, True)
    )
    @ddt.unpack
    def test_settings_of_a_copy(self, version, least, synchronous):
        self.b.emulator = version
        self.arrive()
        self.copy(synchronous_writes=True)
        self.assertEqual(
            {'vda': (least, synchronous, True), 'vdb': (65536, False, True)},
            self.copied(),
        )
        self.assertIn('vdb is copied with', self.log.output)

    def test_what_is_not_asked_for(self):
        self.b.emulator = NEW
        self.options = {'granularity': 131072}
        self.restart_destination()
        self.arrive()
        self.copy()
        self.assertEqual(
            dict.fromkeys(self.disks, (131072, False, True)),
            self.copied(),
        )
        self.assertNotIn('is copied with', self.log.output)


@ddt.ddt
class TestBegin(OperationsTestCase):
    """Some versions of QEMU miss writes while a copy begins."""

    def copied(self, version, **attributes):
        """The guest's conditions when each copy begins."""
        self.b.emulator = version
        seen = []
        self.arrive(
            on_start=lambda _disk: seen.append(self.guest.condition),
            **attributes,
        )
        before = self.guest.condition
        self.copy()
        self.assertEqual(before, self.guest.condition)
        return seen

    def test_nothing_is_missed_by_others(self):
        self.assertEqual(
            2 * [(libvirt.VIR_DOMAIN_RUNNING, 1)], self.copied(7_002_000)
        )

    def test_the_guest_stands_still_meanwhile(self):
        self.assertEqual(2 * [PAUSED], self.copied(8_002_000, unbegun=9))
        self.assertEqual(0, self.guest.unbegun)

    def test_the_helper_is_not_asked_meanwhile(self):
        self.b.emulator = 8_002_000
        self.arrive(unbegun=9)
        calls = self.helper_calls_while_paused(self.guest)
        self.copy()
        self.assertEqual([], calls)

    def test_until_all_have_begun(self):
        seen = []

        def on_resume(machine):
            seen.append(machine.unbegun)

        self.b.on_resume = on_resume
        self.copied(8_002_000, unbegun=9)
        self.assertEqual([0], seen)

    def test_so_it_does_when_one_is_copied_again(self):
        seen = []

        def on_start(disk):
            seen.append((disk, self.guest.condition))
            self.guest.lost = {'vdb'} if len(seen) < 3 else set()

        self.b.emulator = 8_002_000
        self.arrive(on_start=on_start, pace=fakes.TOTAL)
        self.copy()
        self.pivot()
        self.assertEqual(
            [(disk, PAUSED) for disk in ('vda', 'vdb', 'vdb')], seen
        )
        self.assertEqual((libvirt.VIR_DOMAIN_RUNNING, 1), self.guest.condition)

    def test_a_guest_that_somebody_paused_stays_so(self):
        self.assertEqual(
            2 * [PAUSED], self.copied(8_002_000, condition=PAUSED)
        )

    def test_a_copy_that_cannot_start_lets_it_go_on(self):
        def on_start(disk):
            if disk == 'vdb':
                raise exception.DriverError(
                    action='start', disk=disk, reason='it broke'
                )

        self.b.emulator = 8_002_000
        self.arrive(on_start=on_start)
        self.refused(exception.DriverError, self.copy)
        self.assertEqual((libvirt.VIR_DOMAIN_RUNNING, 1), self.guest.condition)


@ddt.ddt
class TestSlowDown(OperationsTestCase):
    """A guest that writes faster than it is copied. vdb is layered."""

    def setUp(self):
        super().setUp()
        self.make_layered('vdb')
        #: What the disks had before.
        self.usual = {'vda': {}, 'vdb': {'total_iops_sec': 10}}

    def slow_down(self, **attributes):
        self.arrive(limits=dict(self.usual), **attributes)
        self.copy(guest_bandwidth=2 * MIB)

    def limits(self):
        """Those of the guest's disks that are not 0."""
        return {
            disk: {k: v for k, v in self.guest.limits_of(disk).items() if v}
            for disk in self.disks
        }

    @ddt.data((7_002_000, 256), (NEW, 2048))
    @ddt.unpack
    def test_each_disk_has_its_share(self, version, iops):
        self.b.emulator = version
        self.slow_down()
        self.assertEqual(
            {
                # a write is at least as much as the copy takes at a time
                'vda': {'write_bytes_sec': MIB, 'write_iops_sec': iops},
                'vdb': {'write_bytes_sec': MIB, 'total_iops_sec': 10},
            },
            self.limits(),
        )

    def test_the_unit_of_a_layered_base_is_its_cluster(self):
        self.usual.clear()
        self.slow_down()
        self.assertEqual(
            {'write_bytes_sec': MIB, 'write_iops_sec': 16},
            self.limits()['vdb'],
        )

    def test_without_need_it_is_not(self):
        self.arrive()
        self.copy()
        self.pivot()
        self.assertEqual([], self.b.limit_flags)

    def test_it_is_written_down_first_and_done_before_the_copies(self):
        said = []

        def on_limit(disk):
            record = self.record('b')
            said.append((disk, record.state, record.limits))

        slow = []
        self.slow_down(
            on_limit=on_limit,
            on_start=lambda _disk: slow.append(self.limits()),
        )
        before = {
            disk: {**dict.fromkeys(fakes.LIMITS, 0), **self.usual[disk]}
            for disk in self.disks
        }
        self.assertEqual(
            [(disk, 'copying', before) for disk in self.disks], said
        )
        self.assertEqual(2 * [self.limits()], slow)
        self.assertNotEqual(self.usual, self.limits())

    @ddt.data(False, True)
    def test_after_the_pivot_it_is_as_it_was(self, restarted):
        self.slow_down()
        if restarted:
            self.restart_destination()
        self.pivot()
        self.assert_as_it_was('releasing')

    @ddt.data(False, True)
    def test_after_an_abort_it_is_as_it_was(self, restarted):
        self.slow_down()
        if restarted:
            self.restart_destination()
        for _time in range(2):
            self.far.abort()
            self.assert_as_it_was('undoing')

    def test_ordered_twice_it_is_as_it_was_at_first(self):
        self.slow_down()
        self.copy(guest_bandwidth=MIB)
        self.pivot()
        self.assert_as_it_was('releasing')

    def assert_as_it_was(self, state):
        self.assertEqual(self.usual, self.limits())
        record = self.record('b')
        self.assertEqual((state, {}), (record.state, record.limits))

    @ddt.data('vda', 'vdb')
    def test_limits_that_cannot_be_set_are_taken_back(self, broken):
        def on_limit(disk):
            if disk == broken:
                raise fakes.libvirt_error(message='it broke')

        error = self.refused(
            exception.HypervisorError,
            lambda: self.slow_down(on_limit=on_limit),
        )
        self.assertIn(broken, str(error))
        self.assertEqual([], self.b.block_copies)
        self.guest.on_limit = lambda _disk: None
        self.far.abort()
        self.assert_as_it_was('undoing')

    def test_an_abort_that_cannot_give_them_back_is_done_again(self):
        self.slow_down()

        def on_limit(_disk):
            raise fakes.libvirt_error(message='it broke')

        self.guest.on_limit = on_limit
        self.refused(exception.HypervisorError, self.far.abort)
        self.guest.on_limit = lambda _disk: None
        self.far.abort()
        self.assert_as_it_was('undoing')

    def test_a_pivot_of_a_guest_that_has_ended(self):
        self.slow_down()
        for disk in self.disks:
            self.guest.pivot(disk)
        self.guest.power_off()
        self.restart_destination()
        self.pivot()
        self.assertEqual('releasing', self.record('b').state)


class TestWayBack(OperationsTestCase):
    def test_a_pivot_that_nobody_has_noted(self):
        """The process was killed between QEMU's pivot and the note."""
        self.arrive()
        self.copy()
        journal.Page(
            journal.Journal(str(self.directory / 'b' / 'journal')),
            *(samples.UUID, 'm1'),
        ).note(states.State.PIVOTING)
        base = self.record('b').moves[0].base
        self.guest.jobs.pop('vda')
        self.guest.use({'vda': base})
        self.restart_destination()
        self.assertEqual(('vda',), self.far.pivoted(5))
        self.assertEqual(('vda',), self.record('b').pivoted)
        self.assertRaises(exception.TooLate, self.far.discard)

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
