# SPDX-License-Identifier: Apache-2.0
"""A short form of each message says what happened and what to do."""

import inspect
import re

import ddt

from nova_blockcopy import exception
from nova_blockcopy import summary
from nova_blockcopy.tests.unit import base

#: Bytes that Nova keeps of a message, with and without words of its own.
EVENT = 255
REFUSAL = 255 - len('Migration pre-check error: ')

ALL = [
    kind
    for _name, kind in inspect.getmembers(exception, inspect.isclass)
    if issubclass(kind, exception.BlockCopyError)
]
_KEYWORD = re.compile(r'%\((\w+)\)s')
#: As QEMU's programs and libvirt answer.
_FOREIGN = (
    "qemu-img: error while reading at byte 1048576: Input/output error in "
    "'/var/lib/nova/instances/11111111-2222-3333-4444-555555555555/disk' ("
    "driver raw, offset 0x7f8a12b40000) "
) * 4 + 'at the end.'
_VALUES = {
    'guest': '11111111-2222-3333-4444-555555555555',
    'host': 'compute-0042.example.org',
    'path': '/var/lib/nova/blockcopy/journal/'
    '11111111-2222-3333-4444-555555555555.json',
    'reason': _FOREIGN,
    'obituary': f'Guest "x" has ended on its source: {_FOREIGN}',
}


def values(kind):
    return {
        word: _VALUES.get(word, word)
        for word in _KEYWORD.findall(kind.msg_fmt)
    }


def begin(kind):
    """What a message says before the words of others, if that is short."""
    before = re.split(r'%\((?:reason|obituary)\)s', kind.msg_fmt)[0]
    return (before % values(kind))[:90].rstrip()


def remedy(kind):
    """The last sentence that is the same in each message of a class."""
    fixed = _KEYWORD.split(kind.msg_fmt)[-1]
    sentence = re.split(r'(?<=[.!?]) (?=[A-Z])', fixed)[-1].strip()
    return sentence if re.match('[A-Z]', sentence) else ''


@ddt.ddt
class TestErrorTree(base.TestCase):
    @ddt.data(*ALL)
    def test_both_ends_are_kept(self, kind):
        whole = str(kind(**values(kind)))
        for limit in (EVENT, REFUSAL):
            short = summary.shorten(whole, limit)
            self.assertLessEqual(len(short.encode()), limit)
            self.assertTrue(short.startswith(begin(kind)), short)
            self.assertTrue(short.endswith(remedy(kind)), short)

    def test_the_words_of_others_are_what_is_cut(self):
        kind = exception.MigrationStuck
        whole = str(kind(**values(kind)))
        self.assertEqual(
            'The migration of guest "11111111-2222-3333-4444-555555555555" '
            'is stuck in state state and needs an operator: qemu-img: error '
            'while reading at byte... No disk was removed. Run '
            '"nova-blockcopy settle 11111111-2222-3333-4444-555555555555" on '
            'the source.',
            summary.shorten(whole, EVENT),
        )


class TestShorten(base.TestCase):
    def test_what_fits_is_left_alone(self):
        self.assertEqual(
            'It failed. Do it.', summary.shorten('It failed. Do it.', 17)
        )

    def test_lines_become_one(self):
        self.assertEqual('a b', summary.shorten('a\n  b\n', 10))

    def test_the_last_sentences_that_fit(self):
        whole = f'It failed: {"so " * 30}it ended. Stop it. Start it.'
        self.assertEqual(
            'It failed: so so so... Stop it. Start it.',
            summary.shorten(whole, 42),
        )

    def test_one_sentence_is_cut_at_its_end(self):
        self.assertEqual('one two...', summary.shorten('one two three', 11))

    def test_a_last_sentence_without_place(self):
        whole = f'It failed. {"Do so and " * 20}so.'
        self.assertEqual(
            'It failed. Do so and Do so...', summary.shorten(whole, 30)
        )

    def test_bytes_count(self):
        short = summary.shorten('ä' * 15, 20)
        self.assertEqual('ä' * 8 + '...', short)
