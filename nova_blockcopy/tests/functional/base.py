# SPDX-License-Identifier: Apache-2.0
"""What the functional tests share: a lab, a scene, and its accounting."""

import typing

import testscenarios
import testtools

from nova_blockcopy import exception
from nova_blockcopy.records import journal
from nova_blockcopy.tests.lab import fixture
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import inspection
from nova_blockcopy.tests.lab import scene

MIB = scene.MIB
#: Of chaos on each disk, before and after a move.
_OPERATIONS = 20


class TestCase(testtools.TestCase):
    """A test with two hosts; each gets them empty."""

    def setUp(self):
        super().setUp()
        self.hosts = self.useFixture(fixture.LabFixture())
        self.lab = self.hosts.lab

    def set_scene(self, *kinds, **options):
        """A guest that runs on host a, with a disk of each kind."""
        made = scene.Scene.set(self.lab, kinds, **options)
        self.addCleanup(made.guest.end)
        return made

    def move_and_compare(self, made: scene.Scene) -> journal.Record:
        """Move a guest that makes chaos; all that it sees arrives.

        Both sides are compared when ready, and again after the pivot.
        """
        self.wait_for_chaos(made)
        with inspection.Inspection(made, until_end=True) as seen:
            try:
                record = made.run(made.migration(seen))
            except exception.BlockCopyError:
                self.assertEqual([], made.guest.crashes())
                raise
            self.assertEqual([], seen.check())
            self.assertEqual([], seen.arrived())
        self.wait_for_chaos(made)
        return record

    def wait_for_chaos(self, made: scene.Scene) -> None:
        for target in made.guest.targets:
            made.guest.log.wait_for_chaos(target, _OPERATIONS)

    def assert_intact(self, made: scene.Scene, at: host.Host) -> None:
        """The guest runs on this host only, and lost nothing.

        Ends by pausing it.
        """
        for target in made.guest.targets:
            made.guest.log.wait_for_more(target, 5)
        self.assertEqual(at.name, made.guest.runs_on())
        self.assertEqual([], made.guest.log.errors)
        self.assert_no_litter(made, at)
        for verdict in made.verdicts(at):
            self.assertTrue(verdict.intact, verdict)
        self.assertEqual([], made.changed(at))

    def assert_no_litter(self, made: scene.Scene, at: host.Host) -> None:
        """Nothing is left, but what makes the next attempt shorter."""
        known = [] if at is made.away else ['journal/received']
        self.assertEqual(
            [],
            [
                found
                for found in self.hosts.litter()
                if not any(each in found for each in known)
            ],
        )


class DriverTestCase(testscenarios.WithScenarios, TestCase):  # type: ignore[misc]
    """The same test with each copy driver."""

    driver: str
    scenarios: typing.ClassVar = [
        ('libvirt', {'driver': 'libvirt'}),
        ('virsh', {'driver': 'virsh'}),
    ]

    def set_scene(self, *kinds, **options):
        return super().set_scene(*kinds, driver=self.driver, **options)


class ModeTestCase(DriverTestCase):
    """The same test with each copy driver in each mode."""

    mode: str
    scenarios: typing.ClassVar = testscenarios.multiply_scenarios(
        DriverTestCase.scenarios,
        [('direct', {'mode': 'direct'}), ('seeded', {'mode': 'seeded'})],
    )

    def set_scene(self, *kinds, **options):
        return super().set_scene(*kinds, mode=self.mode, **options)
