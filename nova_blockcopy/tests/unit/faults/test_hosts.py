# SPDX-License-Identifier: Apache-2.0
"""What an operator has to do after the fault of a whole host."""

from nova_blockcopy.tests.faults import hosts
from nova_blockcopy.tests.unit import base


class TestOperator(base.TestCase):
    def test_the_engine_asks_for_one(self):
        reasons = ['PeerError: no answer', 'SourceRebooted: run "virsh"']
        self.assertTrue(hosts.needs_operator(reasons))

    def test_the_engine_tries_again(self):
        self.assertFalse(hosts.needs_operator([]))
        self.assertFalse(
            hosts.needs_operator(['PeerError: SourceRebooted is no reason'])
        )
