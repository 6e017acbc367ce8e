# SPDX-License-Identifier: Apache-2.0
"""QEMU's mirror job does what the engine relies on, and no more."""

import typing

import testscenarios
import testtools

from nova_blockcopy.tests.lab import mirror_faults


class TestMirror(testscenarios.WithScenarios, testtools.TestCase):  # type: ignore[misc]
    """Each known fault, on the QEMU of this machine."""

    fault: mirror_faults.Fault
    scenarios: typing.ClassVar = [
        (fault.name.replace(' ', '_'), {'fault': fault})
        for fault in mirror_faults.FAULTS
    ]

    def test_safe_settings(self):
        outcome = self.fault.outcome(self.fault.safe)
        self.assertTrue(outcome.good, outcome)

    def test_unsafe_settings(self):
        """If this fails, a QEMU has come that the table does not know."""
        outcome = self.fault.outcome(self.fault.unsafe)
        if self.fault.expected(mirror_faults.version()):
            self.assertIn(self.fault.symptom, str(outcome))
        else:
            self.assertTrue(outcome.good, outcome)
