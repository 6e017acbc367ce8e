# SPDX-License-Identifier: Apache-2.0
"""What the journal forbids: every role in every state."""

import itertools

import ddt

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.nova import guards
from nova_blockcopy.tests.nova import base

SOURCE, DESTINATION = model.Role.SOURCE, model.Role.DESTINATION
State = states.State

#: The states in which a host that a guest came to may have its only disks.
AT_HOME = {State.PIVOTING, State.RELEASING}


@ddt.ddt
class TestGuards(base.TestCase):
    @ddt.data(*itertools.product((SOURCE, DESTINATION), State))
    @ddt.unpack
    def test_start_and_use(self, role, state):
        record = base.record(role, state)
        for rule in (guards.forbids_start, guards.forbids_use):
            self.assertIn(state, rule(record) or '')

    @ddt.data(*State)
    def test_disks_never_go_from_the_source(self, state):
        reason = guards.forbids_removal(base.record(SOURCE, state)) or ''
        self.assertIn(state, reason)
        self.assertIn(base.THERE, reason)

    @ddt.data(*itertools.product((SOURCE, DESTINATION), repeat=2))
    @ddt.unpack
    def test_settled(self, role, authority):
        """The other side's disks are copies; these are the guest's."""
        record = base.record(role, State.SETTLED, authority=authority)
        home = role is authority
        self.assertEqual(home, guards.forbids_removal(record) is not None)
        self.assertEqual(not home, guards.is_left(record))
        for host in (base.HERE, base.THERE):
            self.assertEqual(
                home and host == base.HERE,
                guards.is_home(record, base.instance(host=host)),
            )
        # Nova would have the guest run on without an instance
        self.assertEqual(
            home or role is SOURCE,
            guards.forbids_destruction(record) is not None,
        )

    @ddt.data(*State)
    def test_disks_go_from_the_destination_while_they_are_copies(self, state):
        reason = guards.forbids_removal(base.record(DESTINATION, state))
        self.assertEqual(state in AT_HOME, reason is not None)

    @ddt.data(*State)
    def test_one_disk_that_has_pivoted_keeps_all(self, state):
        record = base.record(
            DESTINATION, state, pivoted=('vdb',), authority=DESTINATION
        )
        reason = guards.forbids_removal(record) or ''
        self.assertIn(base.THERE, reason)
        self.assertIn('only good', reason)

    def test_why_it_must_not_start_differs(self):
        self.assertIn(
            'other host', guards.forbids_start(base.record(SOURCE)) or ''
        )
        self.assertIn(
            'not complete',
            guards.forbids_start(base.record(DESTINATION)) or '',
        )
