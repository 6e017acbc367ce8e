# SPDX-License-Identifier: Apache-2.0
"""A few migrations with faults, and the harness that makes the faults."""

import contextlib
import io
import json

import testtools

from nova_blockcopy.tests.faults import bed as beds
from nova_blockcopy.tests.faults import matrix
from nova_blockcopy.tests.faults import soak
from nova_blockcopy.tests.faults import verdict

#: The plan of this seed has both modes, both drivers and several faults.
_SEED = '6'
_SECONDS = '100'


class TestSoak(testtools.TestCase):
    def test_nothing_is_lost(self):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = soak.main(['--seconds', _SECONDS, '--seed', _SEED])
        *legs, counts = map(json.loads, printed.getvalue().splitlines())
        self.assertEqual(0, code, printed.getvalue())
        self.assertEqual(len(legs), counts['migrations'])
        self.assertEqual(0, counts['broken'], printed.getvalue())


class TestHarness(testtools.TestCase):
    """The harness tells a good cell from a bad one."""

    def setUp(self):
        super().setUp()
        self.bed = beds.Bed()
        self.bed.__enter__()
        self.addCleanup(self.bed.__exit__)

    def _cell(self, fault, state='ready'):
        cell = matrix.Cell(mode='direct', state=state, fault=fault)
        return matrix.run_cell(self.bed, cell)

    def test_an_undisturbed_migration(self):
        found = self._cell('none')
        self.assertEqual(((), verdict.DONE), (found.problems, found.outcome))

    def test_a_killed_source_settles(self):
        found = self._cell('source')
        self.assertEqual((), found.problems)
        self.assertEqual('killed, then undone', found.outcome)

    def test_a_host_without_power_is_waited_for(self):
        found = self._cell('destination-power', 'releasing')
        self.assertEqual((), found.problems)
        self.assertEqual('stuck, then done', found.outcome)

    def test_a_disk_that_cannot_be_read_stays(self):
        found = self._cell('source-io-error', 'copying')
        self.assertEqual((), found.problems)
        self.assertEqual('undone', found.outcome)
