# SPDX-License-Identifier: Apache-2.0
"""What a person has to do after the fault of a whole host."""

from nova_blockcopy.tests.faults import hosts
from nova_blockcopy.tests.faults import person
from nova_blockcopy.tests.unit import base

DEFINITION = '''
<domain>
  <devices>
    <disk type="block">
      <source dev="/dev/vg/guest"/><target dev="vda"/>
    </disk>
    <disk type="file">
      <source file="/images/guest"/><target dev="vdb"/>
    </disk>
    <disk type="network">
      <source protocol="nbd" name="export"/><target dev="vdc"/>
    </disk>
  </devices>
</domain>
'''


class TestOperator(base.TestCase):
    def test_the_engine_asks_for_one(self):
        reasons = ['PeerError: no answer', 'SourceRebooted: run "virsh"']
        self.assertTrue(hosts.needs_operator(reasons))

    def test_the_engine_tries_again(self):
        self.assertFalse(hosts.needs_operator([]))
        self.assertFalse(
            hosts.needs_operator(['PeerError: SourceRebooted is no reason'])
        )


class TestDisks(base.TestCase):
    def test_the_path_of_each(self):
        self.assertEqual(
            {'vda': '/dev/vg/guest', 'vdb': '/images/guest', 'vdc': ''},
            person.sources(DEFINITION),
        )

    def test_those_that_are_not_on_their_bases(self):
        bases = {'vda': '/dev/vg/guest', 'vdb': '/bases/b', 'vdc': '/bases/c'}
        self.assertEqual(['vdb', 'vdc'], person.strangers(DEFINITION, bases))
        self.assertEqual(
            [], person.strangers(DEFINITION, {'vda': '/dev/vg/guest'})
        )
