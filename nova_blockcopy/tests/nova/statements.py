# SPDX-License-Identifier: Apache-2.0
"""The statements of the methods of Nova that end a live migration."""

import ast
import contextlib
import inspect
import sys
import textwrap
import types
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from nova.compute import manager

#: Nova's methods that end a live migration, on both hosts.
METHODS = tuple(
    name
    for name in (
        '_post_live_migration_update_host',
        '_post_live_migration',
        '_post_live_migration_remove_source_vol_connections',
        'post_live_migration_at_destination',
        '_do_post_live_migration_at_destination',
        '_delete_allocation_after_move',
        '_rollback_live_migration',
        '_revert_allocation',
        '_remove_remote_volume_connections',
        '_rollback_volume_bdms',
        'rollback_live_migration_at_destination',
        '_do_rollback_live_migration_at_destination',
    )
    if hasattr(manager.ComputeManager, name)
)


def of(name: str, *, top: bool = False) -> dict[int, str]:
    """The statements of one of Nova's methods: the source text, by line.

    :param top: only those that no condition and no error keeps from running
    """
    method = inspect.unwrap(getattr(manager.ComputeManager, name))
    lines, first = inspect.getsourcelines(method)
    (function,) = ast.parse(textwrap.dedent(''.join(lines))).body
    assert isinstance(function, ast.FunctionDef)
    return {
        node.lineno + first - 1: ast.unparse(node).splitlines()[0]
        for each in function.body
        for node in ([each] if top else ast.walk(each))
        if isinstance(node, ast.stmt) and not _is_docstring(node)
    }


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def code(name: str) -> types.CodeType:
    """The code of one of Nova's methods, without its decorators."""
    method: Any = inspect.unwrap(getattr(manager.ComputeManager, name))
    found: types.CodeType = method.__code__
    return found


@contextlib.contextmanager
def traced(on_line: Callable[[str, int], None]) -> Iterator[None]:
    """Call back before each line of Nova's methods, with name and number."""
    names = {code(name): name for name in METHODS}

    def enter(frame, _event, _argument):
        return within if frame.f_code in names else None

    def within(frame, event, _argument):
        if event == 'line':
            on_line(names[frame.f_code], frame.f_lineno)
        return within

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)
