# SPDX-License-Identifier: Apache-2.0
"""The cells of the fault table, their results, and the table itself."""

import dataclasses

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.tests.faults import faults
from nova_blockcopy.tests.faults import matrix
from nova_blockcopy.tests.faults import table
from nova_blockcopy.tests.unit import base

#: Faults that each state has to meet.
_ENOUGH = 18


def result(cell, **fields):
    return matrix.Result(
        **{
            **dataclasses.asdict(cell),
            'driver': cell.driver,
            'outcome': 'done',
            **fields,
        }
    )


class TestCells(base.TestCase):
    def test_each_state_meets_enough_faults(self):
        for mode in model.Mode:
            for state in states.way(mode)[:-1]:
                found = matrix.cells([mode], [state])
                self.assertGreaterEqual(len(found), _ENOUGH + 1, state)

    def test_both_drivers_have_their_share(self):
        found = [cell.driver for cell in matrix.cells()]
        share = found.count('virsh') / len(found)
        self.assertTrue(0.4 < share < 0.6, share)

    def test_a_fault_of_one_driver_meets_only_that(self):
        found = {cell.driver for cell in matrix.cells([], [], ['virsh'])}
        self.assertEqual({'virsh'}, found)

    def test_a_part(self):
        found = matrix.cells(['seeded'], ['seeding'], ['qemu-img', 'none'])
        self.assertEqual(
            {('seeded', 'seeding', 'none'), ('seeded', 'seeding', 'qemu-img')},
            {(c.mode, c.state, c.fault) for c in found},
        )

    def test_a_mode_without_a_state_has_no_such_cell(self):
        self.assertEqual([], matrix.cells(['direct'], ['seeding']))

    def test_each_fault_is_described(self):
        for name, fault in faults.FAULTS.items():
            self.assertEqual(name, fault.name)
            self.assertTrue(fault.about.endswith('.'), name)


class TestResults(base.TestCase):
    def setUp(self):
        super().setUp()
        self.cells = matrix.cells(['direct'], ['ready'])[:3]
        self.path = self.directory / 'results'

    def test_the_last_result_of_a_cell_counts(self):
        cell = self.cells[0]
        bad = result(cell, problems=('lost',), notes=('note',))
        matrix.write(self.path, [bad, result(cell)])
        self.assertEqual({cell: result(cell)}, matrix.read(self.path))

    def test_a_run_goes_on_where_it_stopped(self):
        first, second, third = self.cells
        known = {
            first: result(first),
            second: result(second, problems=('lost',)),
        }
        self.assertEqual([second, third], matrix.left(self.cells, known))

    def test_without_a_file(self):
        self.assertEqual({}, matrix.read(self.path))


class TestTable(base.TestCase):
    def test_cells(self):
        first, second, *_ = matrix.cells(['direct'], ['ready'])
        text = table.text(
            [
                result(first),
                result(second, problems=('It `is` lost.',), outcome='undone'),
            ]
        )
        self.assertIn('Direct mode', text)
        self.assertIn('     - done\n', text)
        self.assertIn('     - **FAILED**: undone\n', text)
        self.assertIn('     - ?\n', text)
        self.assertIn("``It 'is' lost.``", text)

    def test_no_failure(self):
        text = table.text([result(matrix.cells()[0])])
        self.assertIn('No cell failed.', text)
        self.assertNotIn('FAILED', text)
