# SPDX-License-Identifier: Apache-2.0
"""Run the cells of the fault table, and print a line of JSON for each.

Each cell migrates a guest, breaks one thing in one state, and judges the
result.
"""

import argparse
import concurrent.futures
import logging
import pathlib
import queue
import sys
import threading
from collections.abc import Sequence

import libvirt

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.tests.faults import bed as beds
from nova_blockcopy.tests.faults import faults
from nova_blockcopy.tests.faults import matrix
from nova_blockcopy.tests.faults import table
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cells.

    :returns: 0 if all cells are good, 1 if one is not, 2 if there is no lab
    """
    options = _parser().parse_args(argv)
    libvirt.registerErrorHandler(lambda *_ignored: None, None)
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger(matrix.__name__).setLevel(logging.WARNING)
    wanted = matrix.cells(options.mode, options.state, options.fault)
    known = matrix.read(options.results)
    if options.fresh or not matrix.left(wanted, known):
        known = {cell: known[cell] for cell in known if cell not in wanted}
        matrix.write(options.results, known.values())
    lab.sweep()
    try:
        _run(matrix.left(wanted, known), options)
    except host.LabError as e:
        print(e, file=sys.stderr)
        return 2
    known = matrix.read(options.results)
    if options.table:
        options.table.write_text(table.text(known.values()))
    return 1 if matrix.left(wanted, known) else 0


def _run(cells: list[matrix.Cell], options: argparse.Namespace) -> None:
    """Run cells on several labs, and append the results to a file."""
    ahead: queue.SimpleQueue[matrix.Cell] = queue.SimpleQueue()
    for cell in cells:
        ahead.put(cell)
    door = threading.Lock()

    def work() -> None:
        if ahead.empty():
            return
        with beds.Bed(options.logs) as bed:
            while not ahead.empty():
                result = matrix.run_cell(bed, ahead.get())
                with door, options.results.open('a') as out:
                    out.write(result.line() + '\n')
                    print(result.line(), flush=True)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for working in [pool.submit(work) for _job in range(options.jobs)]:
            working.result()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tox -e faults --', description=__doc__
    )
    add = parser.add_argument
    add(
        '--mode',
        action='append',
        choices=[str(mode) for mode in model.Mode],
        default=[],
        help='only this mode; may be repeated, like the next two options',
    )
    add(
        '--state',
        action='append',
        choices=[str(s) for s in states.way(model.Mode.SEEDED)[:-1]],
        default=[],
        help='only faults in this state',
    )
    add(
        '--fault',
        action='append',
        choices=list(faults.FAULTS),
        default=[],
        help='only this fault',
    )
    add(
        '--results',
        type=pathlib.Path,
        default=pathlib.Path('faults.jsonl'),
        help='the file of results; cells that have a good result there do '
        'not run again, unless all have one (default: faults.jsonl)',
    )
    add('--fresh', action='store_true', help='run all of these cells again')
    add(
        '--table',
        type=pathlib.Path,
        help='write the table of all results into this file',
    )
    add(
        '--logs',
        type=pathlib.Path,
        help='directory for the logs of bad cells (default: none)',
    )
    add(
        '--jobs',
        type=int,
        default=2,
        help='cells that run at the same time (default: 2)',
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
