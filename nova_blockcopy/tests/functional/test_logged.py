# SPDX-License-Identifier: Apache-2.0
"""The log of real migrations between two hosts."""

import pathlib
import re

import nova_blockcopy
from nova_blockcopy import exception
from nova_blockcopy import states
from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.unit import lines

_PAGE = (
    pathlib.Path(nova_blockcopy.__file__).parents[1]
    / 'doc/source/admin/logs.rst'
)


def shape(line: str) -> str:
    """A line without its figures and names."""
    named = re.sub(r'\b(lab|host)-[ab]\b', 'HOST', line)
    named = re.sub(r'guest-\w+|blockcopy \S+,', 'NAME', named)
    return re.sub(r'\d+(?:\.\d+)*', 'N', named)


def quoted() -> list[str]:
    """The lines of the whole migration that the page quotes."""
    blocks = re.findall(r'(?m)::\n\n((?:   .*\n)+)', _PAGE.read_text())
    (found,) = (each for each in blocks if 'begins' in each)
    return [line.strip() for line in found.splitlines()]


class TestLogged(base.ModeTestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(lines.Lines())

    def assert_named(self, made):
        self.assertNotEqual([], self.log.all)
        for each in self.log.all:
            self.assertEqual(made.guest.uuid, each.instance, each.whole)

    def ends(self):
        """The last lines of both hosts."""
        return [
            text
            for text in self.log.of('INFO')
            if re.match('The migration (has|was|is) [a-z]+:', text)
        ]

    def test_a_success(self):
        made = self.set_scene('block', 'layered')
        made.run(made.migration())
        self.assert_intact(made, self.lab.b)
        self.assert_named(made)
        self.assertEqual([], self.log.complaints())
        there, here = self.ends()
        for end in (here, there):
            self.assertRegex(
                shape(end), r'copied in N s .* N MiB allocated after'
            )
            self.assertRegex(shape(end), r'stood still for N s at most')
        self.assertRegex(shape(here), r', N MiB allocated before, ')
        if (self.driver, self.mode) == ('libvirt', 'seeded'):
            said = {shape(text) for text in self.log.of('INFO')}
            self.assertEqual([], [q for q in quoted() if shape(q) not in said])
        starts = [text for text in self.log.of('INFO') if 'begins: ' in text]
        self.assertEqual(2, len(starts))
        for start in starts:
            self.assertIn(f'guest "{made.guest.name}"', start)
            self.assertIn('disk vda of ', start)

    def test_an_abort(self):
        made = self.set_scene('block')

        def listen(now):
            if now.state is states.State.COPYING:
                moving.abort()

        moving = made.migration(listen)
        self.assertRaises(exception.MigrationUndone, lambda: made.run(moving))
        self.assert_intact(made, self.lab.a)
        self.assert_named(made)
        self.assertEqual([], self.log.complaints())
        self.assertIn(
            'The migration was aborted',
            [end.partition(':')[0] for end in self.ends()],
        )
