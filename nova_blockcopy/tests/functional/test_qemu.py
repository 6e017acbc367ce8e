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
