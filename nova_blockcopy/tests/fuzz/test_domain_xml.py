# SPDX-License-Identifier: Apache-2.0
"""The XML of a guest, from the other host or from a damaged journal."""

import copy
import functools
import itertools

from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from nova_blockcopy import domxml
from nova_blockcopy import needs
from nova_blockcopy import transplant
from nova_blockcopy.host import firmware
from nova_blockcopy.tests.fuzz import base
from nova_blockcopy.tests.fuzz import limits
from nova_blockcopy.tests.fuzz import samples
from nova_blockcopy.tests.unit import samples as unit_samples

_MOVES = tuple(
    unit_samples.move(disk) for disk in ('vda', 'vdb', 'vdc', 'vdz')
)
_EXPORTS = {
    move.disk: (
        unit_samples.export(move.disk),
        unit_samples.content(move.disk),
    )
    for move in _MOVES
}
_TEXTS = (
    *('', 'x', '-1', '99999999999999999999', '1e9', 'é', '\u202e', '{}'),
    *('network', 'file', 'block', 'raw', 'qcow2', 'nbd', 'yes', 'on'),
)
_LAUGHS = (
    '<!DOCTYPE d [<!ENTITY a "{}">{}]><domain><name {}>&{};</name></domain>'
)


def laughs(levels, attribute):
    """Entities that grow by ten with each level."""
    names = 'abcdefghij'[: levels + 1]
    more = ''.join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">'
        for before, name in itertools.pairwise(names)
    )
    last = names[-1]
    return _LAUGHS.format(
        'x' * 10, more, f'a="&{last};"' if attribute else '', last
    )


def deep(tag, depth):
    """A disk with many layers in each other."""
    layer = f'<{tag} type="file"><format type="qcow2"/><source file="/x"/>'
    return (
        f'<domain><devices><disk type="file"><source file="/x"/>'
        f'<target dev="vda"/>{layer * depth}{f"</{tag}>" * depth}'
        f'</disk></devices></domain>'
    )


@st.composite
def mutated(draw):
    """The XML of a guest with up to four changes of its elements."""
    root = etree.fromstring(samples.XML)
    for _change in range(draw(st.integers(0, 4))):
        elements = list(root.iter())
        element = draw(st.sampled_from(elements))
        kind = draw(
            st.sampled_from(['attribute', 'drop', 'text', 'move', 'remove'])
        )
        names = ('type', 'dev', 'file', 'port', 'name', *element.attrib)
        parent = element.getparent()
        if kind == 'attribute':
            name = draw(st.sampled_from(names))
            element.set(name, draw(st.sampled_from(_TEXTS)))
        elif kind == 'drop' and element.attrib:
            del element.attrib[draw(st.sampled_from(sorted(element.attrib)))]
        elif kind == 'text':
            element.text = draw(st.sampled_from(_TEXTS))
        elif kind == 'move':
            to = draw(st.sampled_from(elements))
            to.append(copy.deepcopy(element))
        elif kind == 'remove' and parent is not None:
            parent.remove(element)
        if len(list(root.iter())) > 5000:
            break
    return etree.tostring(root, encoding='unicode')


_any = st.one_of(
    mutated(),
    st.text(max_size=200),
    st.builds(
        lambda a, b: f'{samples.XML[:a]}{b}',
        st.integers(0, 3000),
        st.text(max_size=5),
    ),
    st.builds(laughs, st.integers(1, 9), st.booleans()),
    st.builds(
        deep,
        st.sampled_from(['backingStore', 'source', 'x']),
        st.sampled_from([50, 120, 300, 20_000]),
    ),
)


def _calls(xml):
    yield lambda: domxml.disks(xml)
    yield lambda: domxml.disk(xml, 'vda')
    yield lambda: domxml.guest_name(xml)
    yield lambda: domxml.freeze(xml, ())
    yield lambda: domxml.point_at_bases(xml, _MOVES)
    yield lambda: domxml.point_at_exports(xml, _MOVES, _EXPORTS)
    yield lambda: needs.of(xml)
    yield lambda: firmware._path('guest', xml, 'nvram')
    targets = ('vda', 'vdb')
    for one, other in ((xml, samples.XML), (samples.XML, xml)):
        for change in (transplant.restore_disks, transplant.restore_images):
            yield functools.partial(change, one, other, targets)
        yield functools.partial(transplant.without_detached, one, other)


class TestDomain(base.TestCase):
    @given(_any)
    @example(laughs(9, attribute=True))
    @example('<domain>\ud800</domain>')
    @example('<?xml version="1.0" encoding="utf-16"?><domain/>')
    def test_xml(self, xml):
        for call in _calls(xml):
            with limits.example('domain XML'):
                call()
