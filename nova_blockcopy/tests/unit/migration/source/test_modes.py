# SPDX-License-Identifier: Apache-2.0
"""Which steps there are, which were begun, and which are left."""

import ddt

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.migration.source import modes
from nova_blockcopy.records import journal
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

DIRECT = 'preparing exporting switching copying pivoting releasing'.split()
SEEDED = (
    'preparing freezing seeding exporting switching copying pivoting releasing'
).split()
WAYS = ((model.Mode.DIRECT, DIRECT), (model.Mode.SEEDED, SEEDED))


def names(order):
    return [str(state) for state in order]


@ddt.ddt
class TestModes(base.TestCase):
    def record(self, mode, *seen):
        """A record that has been in these states."""
        return journal.Record(
            migration='m1',
            guest=samples.UUID,
            name='guest',
            role=model.Role.SOURCE,
            mode=mode,
            peer='b',
            state=states.State(seen[-1]),
            moves=(samples.move(),),
            history=tuple(
                journal.Entry(at='', state=states.State(state))
                for state in seen
            ),
        )

    @ddt.data(*WAYS)
    @ddt.unpack
    def test_all_in_order(self, mode, way):
        self.assertEqual(way, names(modes.ORDER[mode]))

    @ddt.data(*WAYS)
    @ddt.unpack
    def test_what_was_begun(self, mode, way):
        for number in range(1, len(way) + 1):
            seen = [*way[:number], 'undoing', 'stuck']
            self.assertEqual(
                way[:number], names(modes.begun(self.record(mode, *seen)))
            )

    @ddt.data(*WAYS)
    @ddt.unpack
    def test_what_is_left_begins_with_what_was_begun(self, mode, way):
        for number in range(way.index('pivoting'), len(way)):
            for more in ([], ['stuck']):
                record = self.record(mode, *way[: number + 1], *more)
                self.assertEqual(way[number:], names(modes.ahead(record)))
