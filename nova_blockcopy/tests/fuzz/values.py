# SPDX-License-Identifier: Apache-2.0
"""Strategies: plain data, values of the engine, and both with faults."""

import copy
import json
from typing import Any

from hypothesis import strategies as st

#: Numbers and strings at which code goes wrong.
_NUMBERS = (0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63))
_FLOATS = (0.5, -0.5, 1e300, float('inf'), float('-inf'), float('nan'))
_STRINGS = (
    *('', '.', '..', '/', '../../etc/passwd', '/dev/zero', '/etc/passwd'),
    *('a\0b', 'a\nb', '\ud800', '\x1b[2J', '--help', 'json:{}', 'nbd://x'),
    *('%s', '{0}', '9' * 5000, 'x' * 100_000, 'raw', 'qcow2', 'block'),
    *('<domain/>', '<domain>', '<!DOCTYPE x>', 'true', 'null', '1'),
)

_DEEP = 12


def _is_short(value: Any) -> bool:
    return not isinstance(value, str) or len(value) < 1000


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([*_NUMBERS, *_FLOATS, *_STRINGS]),
)
plain = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=8), inner, max_size=4),
    ),
    max_leaves=12,
)


def nested(depth: int, of: str) -> Any:
    """Lists or dictionaries in each other."""
    value: Any = 1
    for _level in range(depth):
        value = [value] if of == 'list' else {of: value}
    return value


towers = st.builds(
    nested,
    st.sampled_from([10, 200, 300, 900]),
    st.sampled_from(['list', 'backing', 'x']),
)
long_lists = st.builds(
    lambda value, count: [value] * count,
    # these lists share one element, as no message does: 20,000 of the longest
    # string would be 2 GB
    st.one_of(scalars.filter(_is_short), st.just({}), st.just([])),
    st.sampled_from([1000, 20_000]),
)
wrong = st.one_of(plain, towers, long_lists)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values in plain data, but for deep ones."""
    found = [path]
    if len(path) > _DEEP:
        return found
    if isinstance(data, dict):
        for key, value in data.items():
            found += places(value, (*path, key))
    if isinstance(data, list):
        for index, each in enumerate(data):
            found += places(each, (*path, index))
    return found


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at a place."""
    if not path:
        return value
    made = copy.copy(data)
    made[path[0]] = replaced(made[path[0]], path[1:], value)
    return made


@st.composite
def damaged(draw: st.DrawFn, data: Any) -> Any:
    """Plain data that have up to three faults."""
    for _fault in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(places(data)))
        kind = draw(st.sampled_from(['replace', 'remove', 'add']))
        inside: Any = data
        for step in path:
            inside = inside[step]
        if kind == 'remove' and isinstance(inside, dict) and inside:
            gone = draw(st.sampled_from(sorted(inside)))
            value: Any = {k: v for k, v in inside.items() if k != gone}
        elif kind == 'add' and isinstance(inside, dict):
            value = {**inside, draw(st.text(max_size=8)): draw(plain)}
        elif kind == 'add' and isinstance(inside, list):
            value = [*inside, draw(wrong)]
        else:
            value = draw(wrong)
        data = replaced(data, path, value)
    return data


@st.composite
def files(draw: st.DrawFn, data: Any) -> bytes:
    """The content of a JSON file that is damaged in some way."""
    content = json.dumps(draw(damaged(data))).encode()
    kind = draw(st.sampled_from(['whole', 'cut', 'bytes', 'deep', 'raw']))
    if kind == 'cut':
        return content[: draw(st.integers(0, len(content)))]
    if kind == 'bytes':
        at = draw(st.integers(0, len(content)))
        return content[:at] + draw(st.binary(max_size=8)) + content[at:]
    if kind == 'deep':
        opener = draw(st.sampled_from([b'[', b'{"a":', b'[{"x":[']))
        return opener * draw(st.sampled_from([300, 1500, 200_000]))
    if kind == 'raw':
        return draw(st.binary(max_size=200))
    return content
