# SPDX-License-Identifier: Apache-2.0
"""A migration is settled by a program that is not nova-compute."""

import contextlib
import io
import json

import fixtures

from nova_blockcopy import model
from nova_blockcopy.host import hypervisor
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import deputy
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import reconcile_base
from nova_blockcopy.tests.unit import samples

State = reconcile_base.State
FILES = ['--config-file=/etc/nova/nova.conf']


class TestDeputy(reconcile_base.ReconcileTestCase):
    """Neither nova.conf nor the message bus is that of this machine."""

    def setUp(self):
        super().setUp()
        self.joined = self.fake(compat, 'join')
        here = self.connection.hypervisor(base.HERE)
        self.fake(hypervisor, 'Connector')
        self.fake(hypervisor, 'Hypervisor', return_value=here)

    def run_it(self):
        """Run the program; what it prints."""
        argv = ['deputy', samples.UUID, *FILES]
        out = io.StringIO()
        with (
            fixtures.MonkeyPatch('sys.argv', argv),
            contextlib.redirect_stdout(out),
        ):
            deputy.main()
        return json.loads(out.getvalue())

    def test_back(self):
        self.crashed()
        self.assertEqual({'authority': 'source'}, self.run_it())
        self.joined.assert_called_once_with(FILES)
        self.assertIs(State.SETTLED, self.found().state)
        # the part of Nova is for nova-compute
        self.assertEqual([], self.ended)

    def test_on(self):
        self.gone_over()
        self.assertEqual({'authority': 'destination'}, self.run_it())
        self.assertIs(State.SETTLED, self.found().state)
        self.assertIs(model.Role.DESTINATION, self.found().authority)

    def test_a_destination_that_does_not_answer(self):
        self.crashed(peer='host-c')
        self.assertIn('no answer', self.run_it()['reason'])
        self.assertIsNot(State.SETTLED, self.found().state)

    def test_nova_has_the_instance_elsewhere(self):
        """It was evacuated: its guest must not run twice."""
        self.facts = {'host': 'host-c'}
        before = self.crashed()
        self.assertIn('host-c now', self.run_it()['reason'])
        self.assertEqual(before, self.found())
        self.assertEqual([], self.asked)

    def test_a_deleted_instance(self):
        self.deleted = True
        self.crashed()
        self.assertIn(samples.UUID, self.run_it()['reason'])

    def test_no_journal(self):
        self.assertIn('there is no journal', self.run_it()['reason'])
