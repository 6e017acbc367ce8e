# SPDX-License-Identifier: Apache-2.0
"""Which states may follow each other."""

import itertools
import pathlib
import re

import ddt

import nova_blockcopy
from nova_blockcopy import exception
from nova_blockcopy import states
from nova_blockcopy.tests.unit import base

State = states.State
_PAGES = pathlib.Path(nova_blockcopy.__file__).parents[1] / 'doc' / 'source'


def reachable(start):
    found, ahead = set(), [start]
    while ahead:
        old = ahead.pop()
        for new in State:
            if (old, new) in states.ALLOWED and new not in found:
                found.add(new)
                ahead.append(new)
    return found


@ddt.ddt
class TestStates(base.TestCase):
    @ddt.data(
        'preparing exporting switching copying ready pivoting releasing',
        'preparing freezing seeding freezing seeding exporting switching '
        'copying ready pivoting releasing',
        # on the destination
        'preparing copying ready pivoting releasing',
        'preparing seeding copying ready pivoting releasing',
        # the caller has its own part
        'preparing exporting switching copying ready pivoting releasing '
        'settled',
        'preparing undoing settled',
    )
    def test_a_migration_goes_from_its_first_state_to_its_end(self, way):
        names = [*way.split(), 'ended']
        for old, new in itertools.pairwise(names):
            states.check(State(old), State(new))

    @ddt.data(*State)
    def test_each_step_can_be_done_twice(self, state):
        states.check(state, state)

    @ddt.data(
        ('preparing', 'releasing'),
        ('copying', 'pivoting'),
        ('pivoting', 'copying'),
        ('pivoting', 'ended'),
        ('freezing', 'exporting'),
        ('switching', 'freezing'),
        ('releasing', 'undoing'),
        ('copying', 'settled'),
        ('pivoting', 'settled'),
        ('stuck', 'settled'),
        ('settled', 'undoing'),
        ('releasing', 'pivoting'),
        ('undoing', 'copying'),
        ('undoing', 'releasing'),
        ('stuck', 'ended'),
        ('ended', 'preparing'),
    )
    @ddt.unpack
    def test_what_would_lose_data_is_refused(self, old, new):
        error = self.assertRaises(
            exception.InvalidTransition, states.check, State(old), State(new)
        )
        self.assertIn(old, str(error))
        self.assertIn(new, str(error))

    def test_all_is_taken_back_only_before_the_pivot(self):
        self.assertEqual(
            {
                *('preparing', 'freezing', 'seeding', 'exporting'),
                *('switching', 'copying', 'ready'),
            },
            set(states.REVERSIBLE),
        )
        for state in states.REVERSIBLE:
            states.check(state, State.UNDOING)

    @ddt.data(*(state for state in State if state is not State.ENDED))
    def test_every_state_has_a_way_to_the_end(self, state):
        self.assertIn(State.ENDED, reachable(state))

    @ddt.data('admin/operations.rst', 'admin/journals.rst')
    def test_operators_find_each_state(self, page):
        text = (_PAGES / page).read_text()
        table = text.partition('   * - State\n')[2].partition('\n\n')[0]
        found = [
            name
            for names in re.findall(r'(?m)^   \* - (``.+``)$', table)
            for name in names.replace('``', '').split(', ')
        ]
        self.assertEqual([*State][:-1], found)

    def test_the_end_is_the_end(self):
        self.assertEqual(set(), reachable(State.ENDED))
