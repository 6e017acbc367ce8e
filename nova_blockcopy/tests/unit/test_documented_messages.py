# SPDX-License-Identifier: Apache-2.0
"""The messages that the pages quote are those that the code prints."""

import ast
import pathlib
import re

import nova_blockcopy
from nova_blockcopy.tests.unit import base

_PACKAGE = pathlib.Path(nova_blockcopy.__file__).parent
_PAGES = _PACKAGE.parent / 'doc' / 'source'
#: Stand for values in the messages of the pages.
_VALUES = re.compile(
    r'\b(NAME|UUID|HOST|PATH|STATE|REASON|OPERATION|ACTION|USER|DEVICE|'
    r'PROTOCOL|TYPE|FORMAT|PROGRAM|PID|LOOP|URI|VALUE|SIDE|OTHER|N|M|'
    r'vd[a-z])\b'
)
#: The pages with messages, and how many each has at least.
_PAGES_OF_MESSAGES = {
    'user/failures.rst': 20,
    'user/disks.rst': 20,
    'admin/troubleshooting.rst': 20,
    'admin/logs.rst': 10,
}
#: The methods of a logger, by the level of their lines.
_METHODS = {
    'CRITICAL': {'critical'},
    'ERROR': {'error', 'exception'},
    'WARNING': {'warning'},
    'INFO': {'info'},
}
_OF_THE_KERNEL = {'No space left on device'}


def _text(node: ast.AST) -> str:
    """Return the text of a literal, with a NUL in place of each value."""
    match node:
        case ast.Constant(value=str(value)):
            return re.sub(r'%\(\w+\)s|%[sd]', '\0', value)
        case ast.JoinedStr(values=values):
            return ''.join(_text(value) or '\0' for value in values)
    return ''


def _printed() -> str:
    return '\n'.join(
        _text(node)
        for path in _PACKAGE.rglob('*.py')
        if 'tests' not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
    )


def _quoted(page: str) -> list[str]:
    """Find the literals in each table's first column of messages.

    The words with which all messages of a table begin are in the text before
    the table.
    """
    text = (_PAGES / page).read_text()
    cells = [
        cell
        for table in text.split('.. list-table::')
        if re.search(r'\* - Message\b', table)
        for cell in re.findall(r'(?ms)^   \* - (.*?)^     - ', table)
    ]
    return [
        ' '.join(literal.split())
        for found in (
            *cells,
            *re.findall(r'(?s)\bbegin\s+with\s+``.+?``', text),
        )
        for literal in re.findall(r'(?s)``(.+?)``', found)
    ]


def _logged(methods: set[str]) -> str:
    """The texts that the code logs by some methods of a logger."""
    return '\n'.join(
        _text(node.args[0])
        for path in _PACKAGE.rglob('*.py')
        if 'tests' not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in methods
        and node.args
    )


class TestMessages(base.TestCase):
    def test_each_line_of_the_log_has_its_level(self):
        page = (_PAGES / 'admin' / 'logs.rst').read_text()
        rows = re.findall(r'(?ms)^   \* - ``(.+?)``\n     - (\w+)\n', page)
        self.assertGreater(len(rows), 10)
        every = _logged(set().union(*_METHODS.values()))
        for quoted, level in rows:
            text = _VALUES.sub('\0', ' '.join(quoted.split()))
            # others are errors, or have a level that depends
            if text in every:
                self.assertIn(text, _logged(_METHODS[level]), quoted)

    def test_each_quoted_message_is_in_the_code(self):
        printed = _printed()
        for page, fewest in _PAGES_OF_MESSAGES.items():
            quoted = _quoted(page)
            self.assertGreater(len(quoted), fewest)
            for message in set(quoted) - _OF_THE_KERNEL:
                for part in _VALUES.sub('\0', message).split(': '):
                    self.assertIn(part, printed, f'{page}: {message}')
