# SPDX-License-Identifier: Apache-2.0
"""The destination as its source sees it, when that answers oddly."""

import dataclasses
import threading
from typing import Any

import ddt
import fixtures

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy import states
from nova_blockcopy import wire
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.source import offer
from nova_blockcopy.migration.source import remote
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

IDLE: dict[str, Any] = {
    'state': None,
    'pivoted': [],
    'power': 'running',
    'disks': [],
    'task': {'name': None, 'done': True, 'result': None, 'failure': None},
}


def task(name, done=True, *, of=IDLE, **more):
    """A status with a task."""
    return {**of, 'task': {**IDLE['task'], 'name': name, 'done': done, **more}}


@ddt.ddt
class TestRemoteDestination(base.TestCase):
    def setUp(self):
        super().setUp()
        self.asked = []
        self.messages = []
        #: Answers to 'status', one after the other; the last one stays.
        self.answers = [IDLE]
        self.answer = self.next_answer
        self.cancelled = threading.Event()
        self.destination = remote.RemoteDestination(
            peer.InProcess(self.handle),
            samples.record(guest='uuid'),
            interval=0.001,
        )

    def handle(self, message):
        self.assertEqual(
            ('uuid', 'm1'), (message['guest'], message['migration'])
        )
        if message['operation'] != 'status':
            self.asked.append(message['operation'])
            self.messages.append(message)
            return {}
        return self.answer()

    def next_answer(self):
        if len(self.answers) > 1:
            return self.answers.pop(0)
        return self.answers[0]

    def copy(self, watch=lambda _state, _disks: None):
        self.destination.copy(
            '<domain/>',
            5,
            watch,
            self.cancelled,
            synchronous_writes=False,
            guest_bandwidth=7,
        )

    def test_a_task_is_waited_for_and_watched(self):
        disk = {
            'disk': 'vda',
            'processed_bytes': 1,
            'total_bytes': 2,
            'ready': False,
            'pivoted': False,
        }
        busy = task('copy', done=False)
        copying = {**busy, 'state': 'copying', 'disks': [disk]}
        ready = task('copy', of={**copying, 'state': 'ready'})
        self.answers = [busy, copying, ready]
        seen = []
        self.copy(lambda state, disks: seen.append((state, disks)))
        expected = (
            model.DiskProgress(disk='vda', processed_bytes=1, total_bytes=2),
        )
        self.assertEqual(
            [
                (states.State.COPYING, expected),
                (states.State.READY, expected),
            ],
            seen,
        )
        self.assertEqual(['copy'], self.asked)

    def test_a_task_without_progress_is_given_up(self):
        clock = [0.0]
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{remote.__name__}.time.monotonic', lambda: clock[0]
            )
        )
        answers = iter(range(9))

        def status():
            """A figure that grows for a while, and then stays."""
            clock[0] += remote._STILL_S * 0.6
            done = min(3, next(answers))
            disk = {'disk': 'vda', 'processed_bytes': done, 'total_bytes': 9}
            copying = task('copy', done=False)
            disk |= {'ready': False, 'pivoted': False}
            return {**copying, 'state': 'copying', 'disks': [disk]}

        self.answer = status
        seen = []
        error = self.assertRaises(
            exception.PeerError, self.copy, lambda *found: seen.append(found)
        )
        self.assertIn('no progress for 6 hours', str(error))
        self.assertEqual(5, len(seen))

    def test_a_copy_says_how_fast_it_and_the_guest_may_be(self):
        self.answers = [task('copy')]
        self.copy()
        (message,) = self.messages
        self.assertEqual(
            (5, False, 7),
            tuple(
                message[name]
                for name in (
                    *('bandwidth', 'synchronous_writes'),
                    'guest_bandwidth',
                )
            ),
        )

    def test_checksums_are_of_what_a_seed_has_become(self):
        self.answers = [task('digest', result=['x'])]
        seed = model.Seed(
            disk='vda',
            source=samples.image('/x'),
            target=samples.layered('/y', '/z'),
            export=samples.content(),
            extents=(),
            size_bytes=9,
            delta=True,
        )
        parts = (model.Extent(offset=1, length=2),)
        found = self.destination.digest(seed, parts, self.cancelled)
        self.assertEqual(['x'], found)
        (message,) = self.messages
        self.assertEqual(seed, wire.unpack(message['seed'], model.Seed))
        self.assertEqual(wire.pack(parts), message['wanted'])

    def test_a_failed_task_raises_what_it_failed_with(self):
        failure = peer.failure(
            exception.JobFailed(disk='vda', reason='no space.')
        )
        self.answers = [task('copy', failure=failure)]
        error = self.assertRaises(exception.JobFailed, self.copy)
        self.assertIn('no space', str(error))

    @ddt.data(None, 'prepare')
    def test_a_restarted_destination_does_not_do_it_any_more(self, other):
        self.answers = [task('copy', done=False), task(other)]
        error = self.assertRaises(exception.PeerError, self.copy)
        self.assertIn('restarted', str(error))
        self.assertIn('copy', str(error))

    def test_on_request_it_is_not_waited_for(self):
        self.answers = [task('copy', done=False)]
        self.cancelled.set()
        error = self.assertRaises(exception.Aborted, self.copy)
        self.assertIn('guest', str(error))

    def test_what_is_done_is_not_aborted_any_more(self):
        self.answers = [task('copy')]
        self.cancelled.set()
        self.copy()

    def test_a_pivot_cannot_be_cancelled(self):
        busy = task('pivot', done=False)
        self.answers = [busy, busy, task('pivot')]
        self.cancelled.set()
        self.destination.pivot(lambda _state, _disks: None)
        self.assertEqual(['pivot'], self.asked)

    @ddt.data('running', 'off')
    def test_an_abort_is_always_asked_for(self, power):
        # without a guest, too: something may be under way all the same
        self.answers = [task('abort', of={**IDLE, 'power': power})]
        self.destination.abort()
        self.assertEqual(['abort'], self.asked)

    @ddt.data(*hypervisor.Power)
    def test_power(self, power):
        self.answers = [{**IDLE, 'power': power}]
        self.assertIs(power, self.destination.power())

    def test_pivoted_disks_once_the_task_has_ended(self):
        busy = task('pivot', done=False)
        self.answers = [busy, {**IDLE, 'pivoted': ['vda']}]
        self.assertEqual(('vda',), self.destination.pivoted(30))

    def test_a_task_that_does_not_end_tells_nothing(self):
        self.answers = [task('pivot', done=False)]
        error = self.assertRaises(
            exception.PeerError, self.destination.pivoted, 0.01
        )
        self.assertIn('end its task', str(error))


@ddt.ddt
class TestLies(base.TestCase):
    """Answers of a destination that has been taken over, or is wrong."""

    def setUp(self):
        super().setUp()
        self.result = None
        self.status = {}
        self.answer = {}
        self.destination = remote.RemoteDestination(
            peer.InProcess(self.handle), samples.record(), interval=0.001
        )
        self.disk = model.SourceDisk(
            disk='vda',
            image=samples.layered('/top', '/below'),
            size_bytes=9,
            identity=model.ImageIdentity(boot='b', device=1, inode=2),
        )
        self.base = samples.layered('/new', '/new-below')
        self.request = model.BaseRequest(path='/new')

    def handle(self, message):
        if message['operation'] != 'status':
            self.operation = message['operation']
            return self.answer
        return {**task(self.operation, result=self.result), **self.status}

    def refused(self, call, *arguments, **more):
        error = self.assertRaises(
            exception.PeerError, call, *arguments, **more
        )
        return str(error)

    def prepare(self):
        offered = offer.Offer(
            source='a',
            boot='b',
            home=model.Endpoint(uri='x'),
            mode=model.Mode.DIRECT,
            tls=False,
            bases={'vda': self.request},
            disks=(self.disk,),
            selection=plan.Selection(moves=('vda',), left_alone=()),
        )
        return self.destination.prepare(
            offered, dry_run=False, cancelled=threading.Event()
        )

    def move(self, **changes):
        move = plan.paired(self.disk, self.base, whole=self.request.whole)
        return dataclasses.replace(move, **changes)

    def test_the_answer_that_fits(self):
        self.result = wire.pack([self.move()])
        self.assertEqual((self.move(),), self.prepare())

    def test_the_answer_for_a_disk_as_a_whole(self):
        self.request = model.BaseRequest(
            path='/dev/vg/new', format=samples.RAW, whole=True
        )
        self.base = samples.image('/dev/vg/new')
        self.result = wire.pack([self.move()])
        self.assertEqual((self.move(),), self.prepare())

    @ddt.data(
        {'disk': 'vdb'},
        {'source': samples.image('/etc/shadow', samples.FILE)},
        {'base': samples.layered('/other', '/new-below')},
        {'base': samples.image('/new', samples.FILE, samples.QCOW2)},
        {'base': samples.image('/new', samples.FILE)},
        {'size_bytes': 10},
        {'whole': True},
        {'deltas': ('/x',)},
    )
    def test_an_answer_about_something_else(self, changes):
        self.result = wire.pack([self.move(**changes)])
        self.assertIn('differs', self.refused(self.prepare))

    @ddt.data(0, 2)
    def test_an_answer_without_a_disk_or_with_one_twice(self, times):
        """Without a disk, the switchover would redirect nothing."""
        self.result = wire.pack([self.move()] * times)
        self.assertIn('differs', self.refused(self.prepare))

    @ddt.data(None, 5, [5], [{}], {'vda': []})
    def test_no_answer_about_disks(self, result):
        self.result = result
        self.assertIn('not understood', self.refused(self.prepare))

    @ddt.data(
        {'task': None},
        {'task': 'prepare'},
        {'state': 'asleep'},
        {'power': 7},
        {'disks': [{}]},
    )
    def test_no_status(self, status):
        self.status = status
        self.assertIn('not understood', self.refused(self.prepare))

    @ddt.data(
        {'error': 'no'},
        {'extents': [1]},
        {'extents': {'vda': [{'offset': -1, 'length': 5}]}},
        {},
    )
    def test_nothing_that_was_received(self, answer):
        self.answer = answer
        said = self.refused(self.destination.received)
        self.assertIn('not understood', said)

    @ddt.data([], ['x', 'y'], None, 3)
    def test_other_checksums_than_were_asked_for(self, result):
        self.result = result
        seed = model.Seed(
            disk='vda',
            source=samples.image('/x'),
            target=samples.image('/y'),
            export=samples.export(),
            extents=(),
            size_bytes=9,
        )
        said = self.refused(
            self.destination.digest,
            seed,
            (model.Extent(offset=0, length=9),),
            threading.Event(),
        )
        self.assertIn('not understood', said)
