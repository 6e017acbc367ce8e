# SPDX-License-Identifier: Apache-2.0
"""Conversion between frozen values and JSON types. Pure.

Journals and the messages between the hosts use it. The data may come from a
host that was taken over, or from a damaged file. So a value is never made to
fit: a number in quotes is no number.
"""

import dataclasses
import functools
import inspect
import json
import math
import re
import typing
from collections.abc import Callable
from typing import Annotated
from typing import Any
from typing import TypeVar

import cattrs
from cattrs.v import format_exception

T = TypeVar('T')

#: A string that may have line breaks, such as XML. All other strings are
#: parts of paths, of arguments and of one line in a log.
Text = Annotated[str, 'text']

#: Levels of lists and dictionaries in each other. libvirt reads at most 200
#: layers of a disk (QEMU_DOMAIN_STORAGE_SOURCE_CHAIN_MAX_DEPTH in
#: src/qemu/qemu_domain.h), and each layer is a level.
DEEPEST = 256
#: The largest number plus one. Linux has numbers of devices and inodes with
#: 64 bits.
_NUMBERS = 1 << 64
#: Values among which the wrong ones are looked for, to name them.
_EXPLAINED = 10_000
#: Characters of a reason.
_LONGEST = 300

_NO_TEXT = re.compile('[\0\ud800-\udfff]')
_NO_LINE = re.compile('[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
#: Errors of cattrs about data of another shape.
_ERRORS = (
    *(cattrs.BaseValidationError, cattrs.ForbiddenExtraKeysError),
    *(AttributeError, LookupError),
    *(RecursionError, TypeError, ValueError),
)


def parse(content: bytes) -> Any:
    """Read JSON. Python's reader takes more than that, such as ``NaN``.

    :raises ValueError: the bytes are no JSON in UTF-8, or nested too deeply
    """
    try:
        return json.loads(content.decode(), parse_constant=_no_constant)
    except RecursionError:
        raise ValueError('it is nested too deeply') from None


def _no_constant(name: str) -> None:
    raise ValueError(f'it has {name}, which is not JSON')


def pack(value: Any) -> Any:
    """Convert a frozen value into dicts, lists, strings and numbers."""
    return _quick.unstructure(value)


def unpack(data: Any, kind: type[T]) -> T:
    """Convert plain data into a value of this class.

    :raises ValueError: the data do not describe such a value, or have a field
        that the class does not have. The text is one short line.
    """
    count = _count(data)
    try:
        return _quick.structure(data, kind)
    except _ERRORS as e:
        found = _explain(data, kind) if count <= _EXPLAINED else None
        reasons = '; '.join(cattrs.transform_error(found or e, '$', _reason))
        name = getattr(kind, '__name__', str(kind))
        raise ValueError(f'not a {name}: {brief(reasons)}') from None


def arguments(function: Callable[..., Any], data: Any) -> dict[str, Any]:
    """Convert plain data into the arguments of a method, by its annotations.

    :param function: a method with keyword arguments only
    :raises ValueError: the data do not fit the arguments
    """
    values = unpack(data, _arguments_of(function))
    names = [field.name for field in dataclasses.fields(values)]
    return {name: getattr(values, name) for name in names}


def brief(reason: object, longest: int = _LONGEST) -> str:
    """Shorten text that may have come from elsewhere to one line."""
    told = ' '.join(str(reason).split())
    if len(told) > longest:
        told = f'{told[:longest]}...'
    return _NO_LINE.sub('?', told)


@functools.cache
def _arguments_of(function: Callable[..., Any]) -> type[Any]:
    hints = typing.get_type_hints(function, include_extras=True)
    _self, *parameters = inspect.signature(function).parameters.values()
    return dataclasses.make_dataclass(
        function.__name__,
        [
            (each.name, hints[each.name])
            if each.default is each.empty
            else (
                each.name,
                hints[each.name],
                dataclasses.field(default=each.default),
            )
            for each in parameters
        ],
        frozen=True,
        kw_only=True,
    )


def _count(data: Any) -> int:
    """Count the values in lists and dictionaries.

    :raises ValueError: they are nested too deeply
    """
    count, level = 0, [data]
    for _depth in range(DEEPEST):
        count += len(level)
        level = [
            value
            for each in level
            if isinstance(each, dict | list | tuple)
            for value in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return count
    raise ValueError(f'nested in more than {DEEPEST} levels')


def _explain(data: Any, kind: type[Any]) -> BaseException | None:
    """Find all that is wrong; None if that goes too deep."""
    try:
        _exact.structure(data, kind)
    except RecursionError:
        return None
    except _ERRORS as e:
        return e
    return None


def _reason(error: BaseException, kind: type[Any] | None) -> str:
    """Describe one error. cattrs adds the place."""
    if isinstance(error, ValueError):  # of the functions below, or of a model
        return str(error)
    if isinstance(error, AttributeError | TypeError):
        return 'no object'
    return format_exception(error, kind)


def _line(value: Any, kind: Any) -> Any:
    """Convert a string of one line, or a word of an enumeration."""
    if not isinstance(value, str) or _NO_LINE.search(value):
        raise ValueError('no string of one line')
    return kind(value)


def _text(value: Any, _kind: Any) -> str:
    if not isinstance(value, str) or _NO_TEXT.search(value):
        raise ValueError('no text')
    return value


def _truth(value: Any, _kind: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError('neither true nor false')
    return value


def _whole(value: Any, _kind: Any) -> int:
    if type(value) is not int or not 0 <= value < _NUMBERS:
        raise ValueError('no whole number from 0 to 2^64')
    return value


def _number(value: Any, _kind: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError('no number')
    return float(value)


def _items(converter: cattrs.Converter, value: Any, kind: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError('no list')
    item = typing.get_args(kind)[0]
    found = []
    for index, each in enumerate(value):
        try:
            found.append(converter.structure(each, item))
        except _ERRORS as e:
            if not converter.detailed_validation:
                raise
            note = cattrs.IterableValidationNote('', index, item)
            e.__notes__ = [*getattr(e, '__notes__', []), note]
            raise cattrs.IterableValidationError('', [e], kind) from e
    return typing.get_origin(kind)(found)


def _is_list(kind: Any) -> bool:
    return typing.get_origin(kind) in (list, tuple)


def _converter(*, exact: bool) -> cattrs.Converter:
    made = cattrs.Converter(forbid_extra_keys=True, detailed_validation=exact)
    made.register_structure_hook(str, _line)
    made.register_structure_hook(int, _whole)
    made.register_structure_hook(float, _number)
    made.register_structure_hook(bool, _truth)
    made.register_structure_hook_func(lambda kind: kind == Text, _text)
    made.register_structure_hook_func(
        _is_list, functools.partial(_items, made)
    )
    return made


#: Stops at the first error, so that many errors take no time and memory.
_quick = _converter(exact=False)
#: Finds all errors with their places.
_exact = _converter(exact=True)
