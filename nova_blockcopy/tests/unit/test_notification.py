# SPDX-License-Identifier: Apache-2.0
"""The notifications that the events of a migration make."""

import json

import ddt

from nova_blockcopy import events
from nova_blockcopy import model
from nova_blockcopy import notification
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

Kind = notification.Kind
State = states.State


@ddt.ddt
class TestNarrator(base.TestCase):
    def setUp(self):
        super().setUp()
        self.subject = samples.subject()
        self.begin = events.Started(
            subject=self.subject,
            state=State.PREPARING,
            limit=0,
            disks={'vda': 64},
        )
        self.narrator = notification.Narrator('host-a', self.begin, 10.0)

    def tell(self, kind, now=12.0, **values):
        return self.narrator.tell(kind(subject=self.subject, **values), now)

    def change(self, before, state, seconds=2.0):
        return self.tell(
            events.PhaseChanged, before=before, state=state, seconds=seconds
        )

    def end(self, outcome, reason=''):
        return self.tell(
            events.Ended,
            outcome=outcome,
            reason=reason,
            copied_bytes=30,
            phases={State.COPYING: 1.0, State.READY: 0.5},
        )

    def figures(self):
        disk = model.DiskProgress(
            disk='vda', processed_bytes=30, total_bytes=50
        )
        return self.tell(
            events.Progressed,
            progress=progress.Progress(state=State.SEEDING, disks=(disk,)),
        )

    def test_the_start(self):
        told = self.narrator.tell(self.begin, 10.0)
        assert told is not None
        self.assertEqual((Kind.START, False), (told.kind, told.is_error))
        payload = told.payload
        self.assertEqual(
            (samples.UUID, 'host-a', 'host-b', 'source', 'preparing'),
            (
                *(payload.instance_uuid, payload.host, payload.peer),
                *(payload.role, payload.phase),
            ),
        )
        self.assertEqual(
            (
                notification.Disk(
                    disk='vda', size_bytes=64, copied_bytes=0, total_bytes=0
                ),
            ),
            payload.disks,
        )
        self.assertEqual((None, None), (payload.outcome, payload.error))

    @ddt.data(
        (State.SEEDING, Kind.PHASE),
        (State.READY, Kind.READY),
        (State.PIVOTING, Kind.PHASE),
        (State.RELEASING, Kind.PIVOT),
        (State.UNDOING, Kind.PHASE),
        (State.STUCK, Kind.PHASE),
    )
    @ddt.unpack
    def test_a_phase(self, state, kind):
        told = self.change(State.PREPARING, state)
        self.assertEqual(
            (kind, str(state), 2.0, {'preparing': 2.0}),
            (
                *(told.kind, told.payload.phase),
                *(told.payload.duration, told.payload.phases),
            ),
        )

    def test_rounds_of_a_phase_add_up(self):
        self.change(State.SEEDING, State.FREEZING)
        self.change(State.FREEZING, State.SEEDING)
        told = self.change(State.SEEDING, State.EXPORTING)
        self.assertEqual(4.0, told.payload.phases['seeding'])

    def test_figures_are_told_by_the_next_one(self):
        self.assertIsNone(self.figures())
        payload = self.change(State.SEEDING, State.EXPORTING).payload
        (disk,) = payload.disks
        self.assertEqual(
            (64, 30, 50, 30),
            (
                *(disk.size_bytes, disk.copied_bytes, disk.total_bytes),
                payload.copied_bytes,
            ),
        )

    def test_retries_are_not_told(self):
        self.assertIsNone(self.tell(events.Retried, act=events.Retry.COPY))
        self.assertIsNone(self.tell(events.Heard, silent_s=95.0))

    @ddt.data(
        (events.Outcome.COMPLETED, '', Kind.END, False, None),
        (events.Outcome.ABORTED, 'asked', Kind.END, False, 'asked'),
        (events.Outcome.UNDONE, 'no room', Kind.ERROR, True, 'no room'),
        (events.Outcome.STUCK, 'no answer', Kind.ERROR, True, 'no answer'),
    )
    @ddt.unpack
    def test_the_end(self, outcome, reason, kind, is_error, error):
        told = self.end(outcome, reason)
        self.assertEqual((kind, is_error), (told.kind, told.is_error))
        payload = told.payload
        self.assertEqual(
            (str(outcome), error, 1.5),
            (payload.outcome, payload.error, payload.remote_window),
        )

    def test_the_layout_is_that_of_nova(self):
        self.figures()
        found = json.loads(json.dumps(self.end('completed').primitive()))
        self.assertEqual(
            ('BlockCopyPayload', '1.0', 'nova_blockcopy'),
            tuple(
                found.pop(f'nova_object.{key}')
                for key in ('name', 'version', 'namespace')
            ),
        )
        data = found.pop('nova_object.data')
        self.assertEqual({}, found)
        (disk,) = data['disks']
        self.assertEqual('BlockCopyDiskPayload', disk['nova_object.name'])
        self.assertEqual(64, disk['nova_object.data']['size_bytes'])
        self.assertEqual({'copying': 1.0, 'ready': 0.5}, data['phases'])
