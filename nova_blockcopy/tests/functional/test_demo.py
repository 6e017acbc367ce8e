# SPDX-License-Identifier: Apache-2.0
"""The demo tells the truth, above all when something was lost."""

import contextlib
import io
import itertools
import re
import sys
import typing

from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import demo
from nova_blockcopy.tests.lab import terminal

#: A row of a disk: its bar, share, bytes done and in all, rate and time left.
_ROW = re.compile(
    r'^  (?P<disk>vd[ab]) [ \u2501\u2578\u257a]{20} +(?P<share>-|\d+%)'
    r' +(?P<done>\S+B)/(?P<total>\S+B) +(?P<rate>\S+ \S+)/s +(?P<left>\S+)$',
    re.MULTILINE,
)
_UNITS = {'B': 1, 'KiB': 2**10, 'MiB': 2**20, 'GiB': 2**30}
_SIZE = re.compile(r'([\d.]+) ?(\w+)')


def _bytes(text: str) -> float:
    found = _SIZE.fullmatch(text)
    assert found is not None, text
    return float(found[1]) * _UNITS[found[2]]


def _seconds(text: str) -> int:
    minutes, _m, seconds = text.rpartition('m')
    return 60 * int(minutes or 0) + int(seconds.rstrip('s'))


class FramesTestCase(base.TestCase):
    """Checks the frames that a person sees in a terminal."""

    def run_it(self, *options: str) -> str:
        """Run the demo, and check each frame; the last one."""
        code, frames = terminal.frames(
            [
                *(sys.executable, '-m', demo.__name__, '--size', '64'),
                *('--bandwidth', '16', *options),
            ],
            seconds=300,
        )
        self.assertEqual(0, code, frames[-1])
        drawn = [rows for rows in map(self.rows, frames) if rows]
        self.assertLess(10, len(drawn))
        self.assertEqual({len(drawn[-1])}, {len(each) for each in drawn})
        for before, after in itertools.pairwise(drawn):
            for one, other in zip(before, after, strict=True):
                self.assertLessEqual(
                    _bytes(one['done']), _bytes(other['done'])
                )
        for row in drawn[-1]:
            self.assertEqual(('100%', '0s'), (row['share'], row['left']))
            self.assertEqual(row['done'], row['total'])
        return frames[-1]

    def rows(self, frame: str) -> list[dict[str, str]]:
        """The rows of a frame; each figure is right, and in its place."""
        found = [line for line in frame.splitlines() if ' vd' in line[:6]]
        rows = []
        for line in found:
            row = _ROW.match(line.rstrip())
            self.assertIsNotNone(row, f'not a row: {line!r}')
            assert row is not None
            self.check(row.groupdict())
            rows.append(row.groupdict())
        self.assertIn([row['disk'] for row in rows], ([], ['vda', 'vdb']))
        self.assertLessEqual(
            len({len(line.rstrip()) for line in found}), 1, frame
        )
        return rows

    def check(self, row: dict[str, typing.Any]) -> None:
        done, total = _bytes(row['done']), _bytes(row['total'])
        self.assertLessEqual(done, total)
        if total:
            share = int(row['share'].rstrip('%'))
            # three figures of each size are shown
            self.assertAlmostEqual(100 * done / total, share, delta=1.5)
        rate = _bytes(row['rate'])
        if row['left'] == '-':
            self.assertEqual(0, rate, str(row))
        elif rate:
            left = (total - done) / rate
            self.assertAlmostEqual(
                left, _seconds(row['left']), delta=1 + left / 50, msg=str(row)
            )


class TestDemo(base.ModeTestCase, FramesTestCase):  # type: ignore[misc]
    def test_nothing_is_lost(self):
        shown = self.run_it('--driver', self.driver, '--mode', self.mode)
        self.assertEqual(2, shown.count('missing 0, wrong 0'), shown)
        self.assertIn(f'driver {self.driver}', shown)
        self.assertNotIn('DAMAGED', shown)


class TestDemoChecks(FramesTestCase):
    def test_libvirts_own_way(self):
        shown = self.run_it('--native')
        self.assertEqual(2, shown.count('missing 0, wrong 0'), shown)
        self.assertIn('virsh migrate', shown)

    def test_damage_is_reported(self):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = demo.main(['--size', '64', '--damage'])
        self.assertIn('missing 1, wrong 1', printed.getvalue())
        self.assertIn('DAMAGED', printed.getvalue())
        self.assertEqual(1, code)
