# SPDX-License-Identifier: Apache-2.0
"""The fault table of the documentation, from the results of a run. Pure."""

from collections.abc import Iterable

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.tests.faults import faults
from nova_blockcopy.tests.faults import matrix

#: A cell whose fault cannot happen in that state.
_NEVER = '\\-'
#: A cell that has not been run.
_MISSING = '?'
#: The longest description of a problem, in characters.
_LONGEST = 300
_HEAD = '.. The tox environment "faults" writes this file; do not edit it.\n\n'


def text(results: Iterable[matrix.Result]) -> str:
    """Return the tables of both modes, and the problems, as RST."""
    found = {result.cell: result for result in results}
    parts = [_of_mode(mode, found) for mode in model.Mode]
    return _HEAD + '\n'.join(
        [*parts, _problems(found.values()), _descriptions()]
    )


def _of_mode(mode: model.Mode, found: dict[matrix.Cell, matrix.Result]) -> str:
    way = states.way(mode)[:-1]
    lines = [
        f'.. list-table:: {mode.capitalize()} mode',
        '   :header-rows: 1',
        '   :stub-columns: 1',
        '',
        *_row(['Fault', *way]),
    ]
    for name, fault in faults.FAULTS.items():
        if mode in fault.modes:
            cells = [
                matrix.Cell(mode=mode, state=state, fault=name)
                for state in way
            ]
            lines += _row([name, *(_word(cell, found) for cell in cells)])
    return '\n'.join(lines) + '\n'


def _descriptions() -> str:
    lines = ['.. list-table:: The faults', '   :widths: 34 66', '']
    for name, fault in faults.FAULTS.items():
        lines += _row([f'``{name}``', fault.about])
    return '\n'.join(lines) + '\n'


def _row(words: Iterable[str]) -> list[str]:
    first, *others = words
    return [f'   * - {first}', *(f'     - {word}' for word in others)]


def _word(cell: matrix.Cell, found: dict[matrix.Cell, matrix.Result]) -> str:
    state = states.State(cell.state)
    if not faults.FAULTS[cell.fault].fits(model.Mode(cell.mode), state):
        return _NEVER
    if cell not in found:
        return _MISSING
    result = found[cell]
    return result.outcome if result.good else f'**FAILED**: {result.outcome}'


def _problems(results: Iterable[matrix.Result]) -> str:
    bad = [result for result in results if not result.good]
    if not bad:
        return 'No cell failed.\n'
    return (
        '\n'.join(
            [
                'These cells failed:',
                '',
                *(
                    f'* {r.mode} mode, ``{r.fault}`` in ``{r.state}`` '
                    f'({r.driver}): ``{_plain(" ".join(r.problems))}``'
                    for r in bad
                ),
            ]
        )
        + '\n'
    )


def _plain(message: str) -> str:
    words = ' '.join(message.replace('`', "'").split())
    return words if len(words) <= _LONGEST else f'{words[:_LONGEST]} ...'
