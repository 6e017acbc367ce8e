# SPDX-License-Identifier: Apache-2.0
"""nova-compute is killed at each statement of Nova's part.

The statements are those of the Nova that is installed.
"""

import itertools

import ddt

from nova_blockcopy import model
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import statements
from nova_blockcopy.tests.nova import two_hosts

Role = model.Role
#: Where the guest is, and whether somebody has asked for the way back.
_ENDS = (
    (Role.DESTINATION, False),
    (Role.SOURCE, False),
    (Role.SOURCE, True),
)
#: After a kill, the hosts that are killed too, and the order of their starts.
_RESTARTS = (
    (),
    (base.HERE, base.THERE),
    (base.THERE, base.HERE),
)
#: Attempts to settle, as the reconciler makes one after another.
_ATTEMPTS = 3


@ddt.ddt
class TestEveryStatement(two_hosts.TwoHostsTestCase):
    def run_through(self, outcome, aborted, on_line=lambda *_where: None):
        self.begin()
        with statements.traced(on_line):
            self.migrate(outcome, aborted=aborted)

    def recover(self, restarts):
        """Start again what has been killed, until nothing is left to do."""
        for host in restarts:
            self.processes[host].alive = False
            self.casts.clear()
        dead = restarts or [
            host for host, it in self.processes.items() if not it.alive
        ]
        for host in dead:
            self.restart(host)
            self.deliver()
        for _attempt in range(_ATTEMPTS):
            for host in self.processes:
                self.settle(host)
            self.deliver()

    def missed(self, found):
        """The statements of each method that must run, and did not."""
        reached = {name for name, _line in found}
        return [
            (name, text)
            for name in reached
            for line, text in statements.of(name, top=True).items()
            if (name, line) not in found
        ]

    def executed(self, outcome, aborted):
        """The statements of an undisturbed run, in the order of the run."""
        wanted = {
            (name, line): text
            for name in statements.METHODS
            for line, text in statements.of(name).items()
        }
        found: dict[tuple[str, int], str] = {}

        def on_line(*where):
            if where in wanted:
                found.setdefault(where, wanted[where])

        self.run_through(outcome, aborted, on_line)
        return found

    @ddt.data(*itertools.product(_ENDS, _RESTARTS))
    @ddt.unpack
    def test_it_ends_as_an_undisturbed_migration(self, end, restarts):
        outcome, aborted = end
        found = self.executed(outcome, aborted)
        wanted = self.picture()
        self.assertEqual([], wanted['journals'])
        self.assertEqual([], self.missed(found))
        wrong = {}
        for where, text in found.items():
            self.run_through(outcome, aborted, self._at(where, self.kill))
            self.recover(restarts)
            picture = self.picture()
            if picture != wanted:
                wrong[where, text] = {
                    key: (value, wanted[key])
                    for key, value in picture.items()
                    if value != wanted[key]
                }
        self.assertEqual({}, wrong)

    @ddt.data(*_ENDS)
    @ddt.unpack
    def test_no_conductor(self, outcome, aborted):
        """Nova can save nothing any more, and nova-compute lives on."""
        found = self.executed(outcome, aborted)
        wanted = self.picture()
        wrong = {}
        for where, text in found.items():
            self.run_through(outcome, aborted, self._at(where, self._silence))
            self.silent = False
            self.recover(())
            if self.picture() != wanted:
                wrong[where, text] = self.picture()
        self.assertEqual({}, wrong)

    def _silence(self):
        self.silent = True

    def _at(self, wanted, act):
        """Do something once, before a statement."""
        done: list[object] = []

        def on_line(*where):
            if where == wanted and not done:
                done.append(where)
                act()

        return on_line
