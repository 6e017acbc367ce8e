#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Whatever a crash left half done comes to an end, and to the right one."""

import ddt

from nova_blockcopy import exception
from nova_blockcopy import journal
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.migration import reconcile
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.migration import world

State = states.State


@ddt.ddt
class TestSettle(world.WorldTestCase):
    def settle(self):
        """Nobody remembers anything but the journals."""
        self.restart_destination()
        record = self.record('a')
        assert record is not None
        side = reconcile.settle(
            record,
            self.a.hypervisor('host-a'),
            self.channel(),
            self.host_settings('a'),
        )
        # whoever asked for it closes the journal
        at = journal.Journal(str(self.directory / 'a' / 'journal'))
        self.assertIsNotNone(at.find(samples.UUID))
        at.close(samples.UUID)
        return side

    def rewrite(self, host, state):
        """As if the crash had come right after this was written down."""
        at = journal.Journal(str(self.directory / host / 'journal'))
        at.write(self.record(host), state)

    @ddt.data('preparing', 'exporting', 'switching', 'copying')
    def test_before_the_pivot_the_guest_goes_home(self, state):
        self.migration().run(through=State(state))
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assert_untouched()

    def test_on_the_way_back_it_goes_on(self):
        self.migration().run(through=State.COPYING)
        self.rewrite('a', State.UNDOING)
        self.rewrite('b', State.UNDOING)
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assert_untouched()

    def test_a_pivot_that_was_only_announced_is_taken_back(self):
        self.migration().run(through=State.COPYING)
        self.rewrite('a', State.PIVOTING)
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assert_untouched()

    def test_after_a_pivot_it_goes_forward(self):
        self.migration().run(through=State.PIVOTING)
        self.assertEqual(model.Role.DESTINATION, self.settle())
        self.assert_arrived()

    def test_a_release_that_was_begun_is_done(self):
        self.migration().run(through=State.PIVOTING)
        self.rewrite('a', State.RELEASING)
        self.assertEqual(model.Role.DESTINATION, self.settle())
        self.assert_arrived()

    def test_half_a_pivot_goes_forward(self):
        self.migration().run(through=State.COPYING)
        self.rewrite('a', State.PIVOTING)
        at = journal.Journal(str(self.directory / 'b' / 'journal'))
        far = self.remote(self.record('b').migration)
        self.b.machines[samples.UUID].on_pivot = self._crash_after_vda
        self.assertRaises(exception.BlockCopyError, far.pivot, self._ignore)
        found = at.find(samples.UUID)
        self.assertEqual(('vda',), found and found.pivoted)
        self.b.machines[samples.UUID].on_pivot = self._ignore
        self.assertEqual(model.Role.DESTINATION, self.settle())
        self.assert_arrived()

    def test_a_destination_that_is_silent_leaves_all_as_it_is(self):
        self.migration().run(through=State.COPYING)

        def silent(_message):
            raise exception.PeerError(operation='answer', reason='silence')

        self.on_message = silent
        self.assertRaises(exception.PeerError, self.settle)
        self.assertIsNotNone(self.record('a'))
        self.on_message = self._ignore
        self.assertEqual(model.Role.SOURCE, self.settle())
        self.assert_untouched()

    def _crash_after_vda(self, disk):
        if disk == 'vdb':
            raise SystemError('the process is gone')

    def _ignore(self, *_arguments):
        pass
