# SPDX-License-Identifier: Apache-2.0
"""The check that the Nova on this host offers what ``compat`` names."""

import inspect
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from nova_blockcopy.nova import compat


def check() -> None:
    """Pass if this Nova offers everything that is used of it.

    :raises ImportError: with a sentence for each thing that is missing;
        nova-compute logs the error and ends
    """
    missing = lacking()
    if missing:
        raise ImportError(
            f'nova-blockcopy does not fit Nova {compat.version()}. '
            f'{" ".join(missing)} Install a version of nova-blockcopy that '
            f'supports this Nova, or set compute_driver = '
            f'libvirt.LibvirtDriver.'
        )


def lacking() -> list[str]:
    """Return a sentence for each thing that this Nova does not offer."""
    return [
        *_methods(),
        *_functions(),
        *_attributes(),
        *_fields(),
        *_errors(),
        *_constants(),
        *_options(),
    ]


def _methods() -> Iterator[str]:
    for kind, methods in compat.METHODS.items():
        for name, wanted in methods.items():
            yield from _callable(_member(kind, name), f'{kind}.{name}', wanted)
    for name, wanted in compat.OPTIONAL_METHODS.items():
        method = _member('LibvirtDriver', name)
        if method is not None:
            yield from _callable(method, f'LibvirtDriver.{name}', wanted)


def _functions() -> Iterator[str]:
    for name, wanted in compat.FUNCTIONS.items():
        yield from _callable(getattr(compat, name), name, wanted)


def _attributes() -> Iterator[str]:
    for kind, names in compat.ATTRIBUTES.items():
        for name in names:
            found = getattr(compat, kind)
            if not (hasattr(found, name) or _sets(found, name)):
                yield f'{kind} has no attribute {name}.'


def _fields() -> Iterator[str]:
    for kind, names in compat.FIELDS.items():
        fields = getattr(getattr(compat, kind), 'fields', {})
        for name in names:
            if name not in fields:
                yield f'The object {kind} has no field {name}.'


def _errors() -> Iterator[str]:
    for name, values in compat.ERRORS.items():
        error = getattr(compat, name)
        if error is None or error.__module__ != 'nova.exception':
            yield f'nova.exception has no {name}.'
            continue
        for value in values:
            if f'%({value})s' not in error.msg_fmt:
                yield f'The message of {name} takes no {value}.'


def _constants() -> Iterator[str]:
    for name in compat.CONSTANTS:
        if getattr(compat, name) is None:
            yield f'nova.compute.task_states has no {name}.'


def _options() -> Iterator[str]:
    for group, names in compat.OPTIONS.items():
        known = compat.CONF[group] if group else compat.CONF
        for name in names:
            if name not in known:
                yield f'There is no option [{group or "DEFAULT"}] {name}.'


def _member(kind: str, name: str) -> Any:
    return getattr(getattr(compat, kind), name, None)


def _callable(found: Any, name: str, wanted: tuple[str, ...]) -> Iterator[str]:
    """A sentence if something cannot be called with the wanted parameters."""
    needed = f'{name}({", ".join(wanted)})'
    if found is None:
        yield f'There is no {needed}.'
        return
    parameters = {
        name: each
        for name, each in inspect.signature(found).parameters.items()
        if name not in ('self', 'cls')
    }
    names = list(parameters)
    # a call without arguments, or one that Nova makes with arguments to pass
    fits = _fits(names, wanted) if wanted else not _required(parameters)
    if not fits:
        yield f'There is {name}({", ".join(names)}) in place of {needed}.'


def _required(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    return [
        name
        for name, each in parameters.items()
        if each.default is each.empty
        and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]


def _fits(names: list[str], wanted: tuple[str, ...]) -> bool:
    marker = wanted.index('*') if '*' in wanted else len(wanted)
    in_order = tuple(names[:marker]) == wanted[:marker]
    return in_order and set(wanted[marker + 1 :]) <= set(names)


def _sets(kind: Any, name: str) -> bool:
    """Whether the constructor of a class names an attribute."""
    return any(
        name in constructor.__code__.co_names
        for each in inspect.getmro(kind or object)
        if inspect.isfunction(constructor := vars(each).get('__init__'))
    )
