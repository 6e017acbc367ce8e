# SPDX-License-Identifier: Apache-2.0
"""Lists of all messages, generated from the code while the pages are built.

* ``error-table``: the message of each class of the error tree
* ``log-table`` with a level: the lines of the log with that level

Words in capitals stand for values.
"""

import ast
import inspect
import pathlib
import re
from collections.abc import Iterable
from collections.abc import Iterator

import generated_tables
from sphinx.application import Sphinx

import nova_blockcopy
from nova_blockcopy import exception

_PACKAGE = pathlib.Path(nova_blockcopy.__file__).parent
_KEYWORD = re.compile(r'%\((\w+)\)s')
_FORMAT = re.compile(r'%[-.\d]*[sdfgor]')
#: The methods of a logger, by the level of their lines.
_METHODS = {
    'critical': ('critical',),
    'error': ('error', 'exception'),
    'warning': ('warning',),
    'info': ('info',),
}
#: Write to a terminal, not to the log of nova-compute.
_COMMANDS = ('cli', 'cmd', 'tests')


class ErrorTable(generated_tables.Table):
    header = ('Message', 'Error')
    widths = '74 26'

    def rows(self) -> Iterable[tuple[str, ...]]:
        self.depend_on(exception.__file__)
        kinds = [
            kind
            for _name, kind in inspect.getmembers(exception, inspect.isclass)
            if issubclass(kind, exception.BlockCopyError)
        ]
        said = {kind: _in_capitals(kind.msg_fmt) for kind in kinds}
        for kind in sorted(kinds, key=lambda each: _key(said[each])):
            # some classes are completed by the code that raises them
            if _KEYWORD.sub('', kind.msg_fmt).strip():
                yield f'``{said[kind]}``', f'``{kind.__name__}``'


class LogTable(generated_tables.Table):
    header = ('Message',)
    widths = '100'
    required_arguments = 1

    def rows(self) -> Iterable[tuple[str, ...]]:
        methods = _METHODS[self.arguments[0]]
        found = set()
        for path in sorted(_PACKAGE.rglob('*.py')):
            if path.relative_to(_PACKAGE).parts[0] not in _COMMANDS:
                self.depend_on(str(path))
                found.update(lines(path.read_text(), methods))
        for line in sorted(found, key=_key):
            yield (f'``{line}``',)


def lines(code: str, methods: Iterable[str]) -> Iterator[str]:
    """The lines that a module logs by some methods of its logger."""
    for node in ast.walk(ast.parse(code)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in methods
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            values = iter(_values(node.args[1:]))
            text = _FORMAT.sub(
                lambda _found, values=values: next(values, 'VALUE'),
                node.args[0].value,
            )
            # an error alone is in the table of the errors
            if re.search('[a-z]', text):
                yield text


def _values(arguments: Iterable[ast.expr]) -> Iterator[str]:
    for argument in arguments:
        match argument:
            case ast.Starred(value=ast.Tuple(elts=several)):
                yield from _values(several)
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield _VALUES.get(name, name.strip('_').upper())
            case _:
                yield 'VALUE'


_VALUES = {'e': 'REASON', 'strerror': 'REASON', 'failure': 'REASON'}


def _in_capitals(message: str) -> str:
    return _KEYWORD.sub(lambda found: found[1].upper(), message)


def _key(text: str) -> str:
    """Messages that begin with a value come by their first words."""
    return text.strip('"').lower()


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive('error-table', ErrorTable)
    app.add_directive('log-table', LogTable)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
