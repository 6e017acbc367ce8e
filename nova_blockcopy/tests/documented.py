# SPDX-License-Identifier: Apache-2.0
"""The commands that the documentation tells people to run."""

import pathlib
import re
import shlex
from collections.abc import Iterator

import nova_blockcopy

ROOT = pathlib.Path(nova_blockcopy.__file__).parent.parent
PAGES = (
    ROOT / 'README.rst',
    *sorted((ROOT / 'doc' / 'source').rglob('*.rst')),
)
#: A block of commands, up to the next line that is not indented.
_BLOCK = re.compile(
    r'(?m)^( *)\.\. code-block:: (?:console|none)\n(?: *:.*\n)*\n'
    r'((?:\1 +.*\n|\n)+)'
)
_PROMPT = re.compile(r'^\s*[#$] ')
_LITERAL = re.compile(r'(?s)``([^`]+?)``')
#: Stand for numbers.
_NUMBERS = {'MIB_PER_S': '100', 'SECONDS': '5'}


def commands(program: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command line of a program, with the page that has it.

    :returns: the arguments only
    """
    for page in PAGES:
        for line in _lines(page.read_text(encoding='utf-8')):
            words = _words(line)
            if program in words:
                place = str(page.relative_to(ROOT))
                yield place, words[words.index(program) + 1 :]


def mentions(program: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the words after a program in the sentences of the pages."""
    for page in PAGES:
        for literal in _LITERAL.findall(page.read_text(encoding='utf-8')):
            words = literal.split()
            if words and words[0] == program:
                yield str(page.relative_to(ROOT)), words[1:]


def _lines(text: str) -> Iterator[str]:
    """The command lines of a page, each as one line."""
    for _indent, block in _BLOCK.findall(text):
        joined = re.sub(r'\\\n\s*', '', block)
        for line in joined.splitlines():
            if _PROMPT.match(line):
                yield _PROMPT.sub('', line)


def _words(line: str) -> list[str]:
    # what another program gets is not ours
    own = re.split(r' [|>] ', line)[0]
    try:
        words = shlex.split(own)
    except ValueError:  # a line of output
        return []
    return [_NUMBERS.get(word, word) for word in words if word != '...']
