# SPDX-License-Identifier: Apache-2.0
"""The exact texts of the lines that follow a migration."""

import dataclasses

import ddt

from nova_blockcopy import bandwidth
from nova_blockcopy import events
from nova_blockcopy import forecast
from nova_blockcopy import lines
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

MIB = bandwidth.MIB
Outcome = events.Outcome
State = states.State
SUBJECT = samples.subject('instance-00000007')
THERE = dataclasses.replace(
    SUBJECT, role=model.Role.DESTINATION, peer='host-a'
)
STARTED = events.Started(
    subject=SUBJECT,
    state=State.PREPARING,
    limit=200 * MIB,
    disks={'vda': 20480 * MIB, 'vdb': 512 * MIB},
    home='qemu+tls://192.0.2.1/system',
    destination='qemu+tls://192.0.2.2/system',
)
HERE = lines.Host(driver='libvirt', export_address='192.0.2.1', tls=True)
ENDED = events.Ended(
    subject=SUBJECT,
    outcome=Outcome.COMPLETED,
    reason='',
    copied_bytes=20480 * MIB,
    phases={
        State.SEEDING: 200.04,
        State.COPYING: 1.5,
        State.READY: 0.5,
        State.PIVOTING: 0.25,
    },
    longest_stop_s=0.254,
    allocated_before=20480 * MIB,
    allocated_after=8000 * MIB,
)
SLOW = forecast.Forecast(delta_bytes=300 * MIB, rate=50 * MIB)


@ddt.ddt
class TestLines(base.TestCase):
    def test_the_start_on_the_source(self):
        self.assertEqual(
            'The migration to host-b begins: guest "instance-00000007", '
            'nova-blockcopy 1.0, seeded mode, copy driver libvirt, from '
            'qemu+tls://192.0.2.1/system to qemu+tls://192.0.2.2/system, '
            'exports at 192.0.2.1, limit 200 MiB/s, by TLS, disk vda of '
            '20480 MiB, disk vdb of 512 MiB',
            lines.start('1.0', STARTED, HERE),
        )

    def test_the_start_without_a_limit_and_tls(self):
        started = dataclasses.replace(STARTED, limit=0)
        plain = dataclasses.replace(HERE, tls=False)
        self.assertIn(
            'exports at 192.0.2.1, no limit, in clear text, disk vda',
            lines.start('1.0', started, plain),
        )

    def test_the_start_on_the_destination(self):
        started = dataclasses.replace(STARTED, subject=THERE)
        self.assertEqual(
            'The migration from host-a begins: guest "instance-00000007", '
            'nova-blockcopy 1.0, seeded mode, copy driver libvirt, by TLS, '
            'disk vda of 20480 MiB, disk vdb of 512 MiB',
            lines.start('1.0', started, HERE),
        )

    def test_one_that_goes_on_after_a_crash(self):
        started = dataclasses.replace(STARTED, state=State.COPYING)
        self.assertIn(
            'The migration to host-b goes on in state copying: guest "',
            lines.start('1.0', started, HERE),
        )

    @ddt.data(
        (State.SEEDING, '', 'Phase seeding'),
        (State.UNDOING, 'undo copying', 'Phase undoing (undo copying)'),
        (State.STUCK, 'it broke', 'Phase stuck'),
    )
    @ddt.unpack
    def test_a_phase(self, state, note, text):
        changed = events.PhaseChanged(
            subject=SUBJECT, before=State.FREEZING, state=state, note=note
        )
        self.assertEqual(text, lines.phase(changed))

    def progress(self, done, total, rate):
        disk = model.DiskProgress(
            disk='vda', processed_bytes=done * MIB, total_bytes=total * MIB
        )
        return progress.Progress(
            state=State.SEEDING, disks=(disk,), rate=rate * MIB
        )

    def test_figures(self):
        self.assertEqual(
            'Phase seeding: 12 %, 2500 of 20480 MiB, 98.5 MiB/s, 183 s left',
            lines.figures(self.progress(2500, 20480, 98.5)),
        )

    def test_figures_without_a_rate(self):
        self.assertEqual(
            'Phase seeding: 0 %, 0 of 20480 MiB, 0.0 MiB/s',
            lines.figures(self.progress(0, 20480, 0)),
        )

    def test_a_phase_without_figures(self):
        now = progress.Progress(state=State.FREEZING)
        self.assertEqual('Phase freezing', lines.figures(now))

    def test_silence(self):
        self.assertEqual(
            'The destination has not answered for 95 s. Before that: Phase '
            'seeding: 12 %, 2500 of 20480 MiB, 98.5 MiB/s, 183 s left',
            lines.silence(self.progress(2500, 20480, 98.5), 95.2),
        )

    def test_the_end(self):
        self.assertEqual(
            'The migration has completed: seeded mode, 20480 MiB copied in '
            '202.3 s (seeding 200.0 s, copying 1.5 s, ready 0.5 s, pivoting '
            '0.2 s), remote window 2.2 s, the guest stood still for 0.25 s '
            'at most, samples compared by checksums, 20480 MiB allocated '
            'before, 8000 MiB allocated after',
            lines.end(ENDED, model.Verify.SAMPLE),
        )

    @ddt.data(
        (None, 'nothing compared by checksums'),
        (model.Verify.NONE, 'nothing compared by checksums'),
        (model.Verify.FULL, 'all seeded data compared by checksums'),
    )
    @ddt.unpack
    def test_what_was_compared(self, verified, text):
        self.assertIn(f', {text}, ', lines.end(ENDED, verified))

    @ddt.data(
        (Outcome.UNDONE, 'was undone'),
        (Outcome.ABORTED, 'was aborted'),
        (Outcome.STUCK, 'is stuck'),
    )
    @ddt.unpack
    def test_an_end_of_which_little_is_known(self, outcome, text):
        ended = events.Ended(
            subject=SUBJECT,
            outcome=outcome,
            reason='it broke',
            copied_bytes=0,
            phases={State.PREPARING: 1.0},
        )
        self.assertEqual(
            f'The migration {text}: seeded mode, 0 MiB copied in 1.0 s '
            f'(preparing 1.0 s)',
            lines.end(ended, model.Verify.FULL),
        )

    def test_a_round(self):
        self.assertEqual(
            'Round 2 of seeding: 300.0 MiB are left, 6.0 s at 50.0 MiB/s; '
            'seed another round',
            lines.round_done(2, SLOW, forecast.Advice.AGAIN),
        )

    @ddt.data(
        (
            25 * MIB,
            'The guest moves now, and may write at most 25.0 MiB/s until its '
            'disks are copied',
        ),
        (
            None,
            'The migration is undone, because [blockcopy] '
            'seed_shortfall_action is abort',
        ),
    )
    @ddt.unpack
    def test_a_shortfall_says_what_is_done(self, limit, remedy):
        self.assertEqual(
            f'The guest writes faster than its disks are copied: 300.0 MiB '
            f'are left, 6.0 s at 50.0 MiB/s, and [blockcopy] '
            f'max_remote_window is 0.5 s. {remedy}',
            lines.shortfall(SLOW, 0.5, limit),
        )
