# SPDX-License-Identifier: Apache-2.0
"""The drawing of the states, made from the table while the pages are built.

``state-diagram`` draws each pair of ``states.ALLOWED``. The ways back of the
states before the pivot are alike, so they are drawn once, from the frame
around these states. Without that, two arrows would leave each state and
cover the way forward.
"""

import itertools
from collections.abc import Iterable
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext import graphviz
from sphinx.util.docutils import SphinxDirective

from nova_blockcopy import states

Pair = tuple[states.State, states.State]

_WAYS_BACK = (states.State.UNDOING, states.State.STUCK)
_FRAME = 'cluster_reversible'
_HEAD = """
    compound=true newrank=true ranksep=0.38 nodesep=0.9
    node [shape=box style="rounded,filled" fillcolor="#e8f0f8"
          fontname="Helvetica" fontsize=12 height=0.35 width=1.1]
    edge [fontname="Helvetica" fontsize=10 arrowsize=0.7]
"""
_COLOURS = {
    states.State.UNDOING: '#fff3d0',
    states.State.STUCK: '#f8d8d8',
    states.State.ENDED: '#e0e0e0',
}


def source() -> str:
    """The diagram, in the language of dot."""
    grouped = _grouped()
    lines = [
        *_nodes(),
        *_frame(),
        *_beside(),
        *(_from_frame(way_back) for way_back in grouped),
        *(
            _arrow(pair)
            for pair in _sorted(states.ALLOWED)
            if not (pair[0] in states.REVERSIBLE and pair[1] in grouped)
            and not _drawn_already(pair)
        ),
    ]
    return f'digraph states {{{_HEAD}    ' + '\n    '.join(lines) + '\n}\n'


def _grouped() -> tuple[states.State, ...]:
    """The ways back that all states before the pivot have."""
    return tuple(
        way_back
        for way_back in _WAYS_BACK
        if all((state, way_back) in states.ALLOWED for state in _reversible())
    )


def _reversible() -> list[states.State]:
    return [state for state in states.State if state in states.REVERSIBLE]


def _sorted(pairs: Iterable[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: (_place(pair[0]), _place(pair[1])))


def _place(state: states.State) -> int:
    """The states are declared in the order of the way forward."""
    return list(states.State).index(state)


def _nodes() -> Iterator[str]:
    for state in _forward():
        yield f'{state} [group=forward]'
    for state, colour in _COLOURS.items():
        yield f'{state} [fillcolor="{colour}"]'


def _frame() -> Iterator[str]:
    yield f'subgraph {_FRAME} {{'
    yield '    label="can be undone" labeljust=l fontname="Helvetica"'
    yield '    fontsize=11 style=dashed color="#808080" margin=22'
    yield f'    {"; ".join(_reversible())}'
    yield '}'


def _beside() -> Iterator[str]:
    """Keep the ways back beside the way forward, not in it."""
    for forward, back in (
        (states.State.COPYING, states.State.UNDOING),
        (states.State.RELEASING, states.State.STUCK),
    ):
        yield f'{{rank=same; {back}; {forward}}}'


def _from_frame(way_back: states.State) -> str:
    # an arrow begins at a node; ltail cuts it off at the frame
    tail = states.State.COPYING
    return f'{tail} -> {way_back} [ltail={_FRAME} penwidth=1.5]'


def _arrow(pair: Pair) -> str:
    old, new = pair
    if _beside_way(pair):
        both = (new, old) in states.ALLOWED
        ends = 'dir=both' if both else 'tailport=e headport=e'
        look = f'{ends} constraint=false color="#606060"'
    elif _place(new) < _place(old):
        look = 'constraint=false tailport=w headport=w'
    elif _is_next(pair):
        look = 'penwidth=2 weight=20'
    else:
        look = 'style=dashed tailport=e headport=e'
    return f'{old} -> {new} [{look}]'


def _beside_way(pair: Pair) -> bool:
    return bool({*pair} & {*_WAYS_BACK})


def _drawn_already(pair: Pair) -> bool:
    """Whether the arrow of the opposite pair has a head for this one."""
    old, new = pair
    opposite = (new, old) in states.ALLOWED
    return _beside_way(pair) and opposite and _place(old) > _place(new)


def _is_next(pair: Pair) -> bool:
    """Whether the second state is the one after the first one."""
    return pair in itertools.pairwise(_forward())


def _forward() -> list[states.State]:
    return [state for state in states.State if state not in _WAYS_BACK]


class StateDiagram(SphinxDirective):
    """The diagram, as a node of ``sphinx.ext.graphviz``."""

    def run(self) -> list[nodes.Node]:
        if states.__file__ is not None:
            self.env.note_dependency(states.__file__)
        self.env.note_dependency(__file__)
        drawn = graphviz.graphviz()
        drawn['code'] = source()
        drawn['options'] = {'docname': self.env.docname}
        drawn['alt'] = (
            'The states of a migration. The table has all that may follow '
            'each of them.'
        )
        return [drawn]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive('state-diagram', StateDiagram)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
