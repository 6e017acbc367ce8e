# SPDX-License-Identifier: Apache-2.0
"""A message in little room, with what happened and what to do. Pure."""

import re

#: What stands where words were left out.
_GAP = '...'
#: A sentence ends here, and another one begins.
_BETWEEN = re.compile(r'(?<=[.!?]) (?=["A-Z\[])')


def shorten(message: str, limit: int) -> str:
    """The begin and the end of a message that is too long.

    A message of this project begins with what happened and ends with what to
    do. The words of other programs stand between the two, and may be many.
    The last sentences get up to half of the room, the first words the rest.
    If there is only one sentence, or the last one is too long, the first
    words get all of it.

    :param limit: bytes in UTF-8, as the columns of databases have them
    :returns: one line of whole words
    """
    line = ' '.join(message.split())
    if _size(line) <= limit:
        return line
    end = _last_sentences(line, limit // 2)
    if not end:
        return _begin(line, limit)
    begin = _begin(line[: -len(end)], limit - _size(end) - 1)
    return f'{begin} {end}'


def _last_sentences(line: str, limit: int) -> str:
    """The last sentences that have place, but never the first one."""
    last = ''
    for sentence in reversed(_BETWEEN.split(line)[1:]):
        longer = f'{sentence} {last}'.rstrip()
        if _size(longer) > limit:
            break
        last = longer
    return last


def _begin(line: str, limit: int) -> str:
    """The first words, with the sign that others were left out."""
    room = max(0, limit - len(_GAP))
    cut = line.encode()[:room].decode(errors='ignore')
    words = cut.rpartition(' ')[0] or cut
    return f'{words.rstrip()}{_GAP}'


def _size(text: str) -> int:
    return len(text.encode())
