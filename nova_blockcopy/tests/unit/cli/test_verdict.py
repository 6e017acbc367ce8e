# SPDX-License-Identifier: Apache-2.0
"""What a person may do, and what would lose data."""

import dataclasses

import ddt

from nova_blockcopy import model
from nova_blockcopy.cli import facts
from nova_blockcopy.cli import verdict
from nova_blockcopy.host import hypervisor
from nova_blockcopy.records import journal
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.cli import base as cli

State = cli.State
Power = hypervisor.Power
OFF = facts.Facts(power=Power.OFF)
SEEDING = (State.PREPARING, State.FREEZING, State.SEEDING)
SWITCHED = (*SEEDING, State.EXPORTING, State.SWITCHING)
COPYING = (*SWITCHED, State.COPYING)
PIVOTING = (*COPYING, State.READY, State.PIVOTING)


def record(seen, role, **values):
    return samples.record(
        role=role,
        state=seen[-1],
        peer='host-b',
        moves=(samples.move(),),
        history=tuple(journal.Entry(at='', state=each) for each in seen),
        **values,
    )


@ddt.ddt
class TestOfSource(base.TestCase):
    def adopt(self, seen, found=OFF, *, fenced=False, **values):
        return verdict.adopt(
            record(seen, model.Role.SOURCE, **values), found, fenced=fenced
        )

    def test_before_the_switchover_the_guest_is_here(self):
        self.assertEqual('', self.adopt(SEEDING).refusal)

    @ddt.data(SWITCHED, COPYING)
    def test_after_it_the_other_host_must_be_off(self, seen):
        self.assertIn('give --fenced', self.adopt(seen).refusal)
        self.assertEqual('', self.adopt(seen, fenced=True).refusal)

    def test_a_guest_that_runs_here_runs_nowhere_else(self):
        here = facts.Facts(power=Power.RUNNING)
        self.assertEqual('', self.adopt(COPYING, here).refusal)

    def test_a_guest_that_uses_the_exports_runs_over_there(self):
        used = dataclasses.replace(OFF, clients=True)
        found = self.adopt(COPYING, used, fenced=True)
        self.assertIn('it runs there', found.refusal)

    @ddt.data(State.PIVOTING, State.STUCK, State.UNDOING)
    def test_a_pivot_may_have_made_the_disks_old(self, last):
        found = self.adopt((*PIVOTING, last), fenced=True)
        self.assertIn('the pivot was ordered', found.refusal)

    def test_old_disks(self):
        found = self.adopt(
            (*PIVOTING, State.RELEASING),
            fenced=True,
            authority=model.Role.DESTINATION,
        )
        self.assertIn('out of date', found.refusal)

    def test_an_unknown_guest(self):
        found = self.adopt(
            SEEDING, facts.Facts(power=None, trouble='no socket')
        )
        self.assertIn('no socket', found.refusal)

    def test_a_rebooted_host_has_what_was_flushed(self):
        off = dataclasses.replace(OFF, rebooted=True)
        known = ' '.join(self.adopt(COPYING, off).known)
        self.assertIn('as of the last flush', known)

    def abandon(self, seen, found=OFF, *, fenced=True, **values):
        return verdict.abandon(
            record(seen, model.Role.SOURCE, **values), found, fenced=fenced
        ).refusal

    @ddt.data(SEEDING, COPYING, PIVOTING)
    def test_only_disks_stay(self, seen):
        self.assertIn('nothing proves', self.abandon(seen))

    def test_what_is_proven_to_be_old_may_go(self):
        proven = {
            'seen': (*PIVOTING, State.RELEASING),
            'authority': model.Role.DESTINATION,
        }
        self.assertEqual('', self.abandon(**proven))
        self.assertIn('give --fenced', self.abandon(**proven, fenced=False))
        used = dataclasses.replace(OFF, clients=True)
        self.assertIn('connected', self.abandon(**proven, found=used))


@ddt.ddt
class TestOfDestination(base.TestCase):
    def record(self, *seen, **values):
        return record(
            (State.PREPARING, *seen), model.Role.DESTINATION, **values
        )

    def adopt(self, found, *seen, **values):
        return verdict.adopt(
            self.record(*seen, **values), found, fenced=True
        ).refusal

    def abandon(self, found, *seen, **values):
        return verdict.abandon(
            self.record(*seen, **values), found, fenced=True
        ).refusal

    def test_bases_that_no_guest_has_used(self):
        self.assertIn('never been', self.adopt(OFF, State.SEEDING))
        self.assertEqual('', self.abandon(OFF, State.SEEDING))

    @ddt.data(Power.RUNNING, Power.PAUSED, Power.IO_ERROR)
    def test_the_engine_proves_the_bases_of_a_guest_that_is_here(self, power):
        self.assertEqual(
            '', self.adopt(facts.Facts(power=power), State.COPYING)
        )

    def test_bases_that_are_not_complete(self):
        self.assertIn('not complete', self.adopt(OFF, State.COPYING))

    def test_only_some_are_complete(self):
        found = self.adopt(OFF, State.PIVOTING, pivoted=('vdb',))
        self.assertIn('only some disks', found)

    def test_a_guest_that_ended_on_its_bases(self):
        at_base = dataclasses.replace(OFF, places={'vda': facts.BASE})
        self.assertEqual(
            '', self.adopt(at_base, State.PIVOTING, pivoted=('vda',))
        )

    @ddt.data(
        {'pivoted': ('vda',)},
        {'authority': model.Role.DESTINATION},
    )
    def test_complete_bases_are_not_forgotten(self, values):
        found = self.abandon(OFF, State.PIVOTING, **values)
        self.assertIn('the only complete disks', found)

    def test_a_base_that_is_used_unnoticed(self):
        at_base = facts.Facts(power=Power.IO_ERROR, places={'vda': facts.BASE})
        self.assertIn('adopt', self.abandon(at_base, State.COPYING))

    @ddt.data(Power.RUNNING, Power.PAUSED, Power.MIGRATING)
    def test_a_guest_that_is_here_is_not_ended(self, power):
        found = self.abandon(facts.Facts(power=power), State.COPYING)
        self.assertIn('settle', found)

    def test_a_guest_whose_exports_are_gone_may_be_ended(self):
        dead = facts.Facts(power=Power.IO_ERROR)
        self.assertEqual('', self.abandon(dead, State.COPYING))
        alive = dataclasses.replace(dead, served=True)
        self.assertIn('can be reached', self.abandon(alive, State.COPYING))
