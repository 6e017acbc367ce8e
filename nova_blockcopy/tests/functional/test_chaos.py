# SPDX-License-Identifier: Apache-2.0
"""A guest that does anything anywhere moves, and all that it sees moves.

It writes long runs and single sectors, zeroes and discards, at any place.
While it holds its breath, both sides are compared byte for byte: when all
copies are ready, and once more after the pivot.
"""

from nova_blockcopy import exception
from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import inspection

#: Seconds between two operations of the guest on a disk.
_CHAOS = 0.01


class ChaosTestCase(base.ModeTestCase):
    def set_scene(self, *kinds, **options):
        return super().set_scene(
            *kinds, chaos=_CHAOS, data=16 * base.MIB, **options
        )


class TestChaos(ChaosTestCase):
    """Every kind of disk."""

    def _move(self, *kinds, **options):
        made = self.set_scene(*kinds, **options)
        self.move_and_compare(made)
        self.assert_intact(made, self.lab.b)

    def test_block_device(self):
        self._move('block')

    def test_raw_file(self):
        self._move('raw')

    def test_qcow2(self):
        self._move('qcow2')

    def test_qcow2_with_a_backing_file(self):
        self._move('layered')

    def test_bases_of_another_kind(self):
        self._move(
            *('layered', 'layered', 'raw'),
            base_kinds=('qcow2', 'block', 'qcow2'),
        )


class TestAgain(ChaosTestCase):
    """A second attempt finds bases that were written to already."""

    def test_aborted_when_ready(self):
        made = self.set_scene('block', 'layered')
        self.wait_for_chaos(made)
        with inspection.Inspection(made, then=lambda: moving.abort()) as seen:
            moving = made.migration(seen)
            self.assertRaises(exception.MigrationUndone, made.run, moving)
            self.assertEqual([], seen.check())
        self.move_and_compare(made)
        self.assert_intact(made, self.lab.b)


class TestRounds(base.DriverTestCase):
    """What is written during one round travels in the next one."""

    def test_several_rounds(self):
        made = self.set_scene(
            *('block', 'layered'),
            chaos=_CHAOS,
            mode='seeded',
            seed_rounds=3,
            # it is never reached, so there are as many rounds as there may be
            max_remote_window=0,
        )
        record = self.move_and_compare(made)
        rounds = [e for e in record.history if 'round' in e.note]
        self.assertGreater(len(rounds), 1)
        self.assert_intact(made, self.lab.b)
