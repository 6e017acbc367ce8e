# SPDX-License-Identifier: Apache-2.0
"""Figures for people, and their display."""

import io

import ddt
import rich.console

from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.cli import phases
from nova_blockcopy.cli import screen
from nova_blockcopy.cli import words
from nova_blockcopy.tests.unit import base

State = states.State


@ddt.ddt
class TestWords(base.TestCase):
    @ddt.data(
        *((0, '0 B'), (999, '999 B'), (1000, '0.98 KiB'), (1024, '1.00 KiB')),
        *((50 * 2**20, '50.0 MiB'), (999 * 2**30, '999.0 GiB')),
        (2**50, '1.00 PiB'),
    )
    @ddt.unpack
    def test_a_size(self, count, said):
        self.assertEqual(said, words.size(count))

    @ddt.data(
        *((None, '-'), (0, '0s'), (0.2, '1s'), (60, '1m00s'), (125, '2m05s')),
        (3 * 3600 + 120, '3h02m'),
    )
    @ddt.unpack
    def test_a_time(self, seconds, said):
        self.assertEqual(said, words.span(seconds))

    @ddt.data((0, 0, '-'), (999, 1000, '99%'), (1000, 1000, '100%'))
    @ddt.unpack
    def test_a_share_is_whole_only_in_the_end(self, done, total, said):
        self.assertEqual(said, words.percent(done, total))

    def test_each_state_has_words(self):
        self.assertEqual(set(State), set(phases.SAID))


class TestScreen(base.TestCase):
    def now(self, done, state=State.SEEDING, total=2**40):
        return progress.Progress(
            state=state,
            disks=(
                model.DiskProgress(
                    disk='vda', processed_bytes=done, total_bytes=total
                ),
            ),
            rate=2.0**20,
            rates={'vda': 999.9 * 2**20},
        )

    def drawn(self, terminal, *figures, guest=''):
        out = io.StringIO()
        console = rich.console.Console(
            file=out, force_terminal=terminal, width=80
        )
        clock = iter(range(0, 1000, 4))
        with screen.Screen(console, clock=lambda: next(clock)) as shown:
            for each in figures:
                shown.show(each, guest)
        return out.getvalue()

    def test_rows_of_the_engines_figures(self):
        drawn = self.drawn(True, self.now(2**39))
        self.assertIn('50%', drawn)
        self.assertIn('512.0GiB/1.00TiB', drawn)
        self.assertIn('999.9 MiB/s', drawn)
        self.assertIn('8m45s', drawn)
        self.assertNotIn('?', drawn.replace('[?25', ''))

    def test_lines_without_a_terminal(self):
        drawn = self.drawn(
            False,
            *(self.now(2**30), self.now(2**31), self.now(2**32)),
            *(self.now(2**33), self.now(2**34, State.EXPORTING)),
        )
        lines = drawn.splitlines()
        # at 0 s and at 12 s
        self.assertEqual(4, len(lines), '\n'.join(lines))
        self.assertIn('seeding: the disks are copied', lines[0])
        self.assertIn('seeding, 1024 of', lines[1])
        self.assertIn('seeding, 8192 of', lines[2])
        self.assertIn('exporting:', lines[3])

    def test_several_guests_have_names(self):
        drawn = self.drawn(True, self.now(1), guest='instance-0001')
        self.assertIn('instance-0001 vda', drawn)
