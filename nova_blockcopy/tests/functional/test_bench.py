# SPDX-License-Identifier: Apache-2.0
"""The benchmark runs, and what it writes down is what it has measured."""

import contextlib
import io
import json
import tempfile
from typing import Any

import testtools

from nova_blockcopy.tests.lab import bench


def run(*options: str) -> tuple[int, str, dict[str, Any]]:
    """Run a small one; its exit code, what it printed, and its figures."""
    printed = io.StringIO()
    with tempfile.NamedTemporaryFile('r', suffix='.json') as figures:
        with contextlib.redirect_stdout(printed):
            code = bench.main([*options, '--quick', '--json', figures.name])
        return code, printed.getvalue(), json.load(figures)


class TestBench(testtools.TestCase):
    def test_windows(self):
        code, printed, found = run('windows', '--sizes', '64')
        self.assertEqual(0, code)
        self.assertIn('remote window', printed)
        self.assertEqual(
            ['quiet', 'writing'],
            [row['load'] for row in found['parts']['windows']],
        )
        for row in found['parts']['windows']:
            # each phase is part of the whole
            self.assertGreater(row['window_s'], 0)
            self.assertGreater(row['total_s'], sum(row['phases'].values()))

    def test_reads(self):
        code, printed, found = run('reads', '--sizes', '64')
        self.assertEqual(0, code)
        self.assertIn('in the window', printed)
        rows = found['parts']['reads']
        self.assertEqual(4, len(rows))
        for row in rows:
            self.assertGreater(row['home'], 0)
        # a long window is long enough to tell
        for row in (r for r in rows if r['load'] == 'writing too fast'):
            self.assertGreater(row['window'], 0)

    def test_stops(self):
        code, printed, found = run('stops', '--sizes', '64')
        self.assertEqual(0, code)
        self.assertIn('beside 4 that seed', printed)
        for row in found['parts']['stops']:
            self.assertGreater(row['gap_s'], 0)

    def test_a_full_link_is_no_more_than_full(self):
        code, printed, found = run('seed')
        self.assertEqual(0, code)
        self.assertIn('all bits of the link', printed)
        rows = found['parts']['seed']
        for row in (row for row in rows if 'frame_share' in row):
            # what a link has in its bucket at first comes on top
            self.assertLess(row['frame_share'], 1.05)
            self.assertGreater(row['wire_bytes'], row['data_bytes'])
        limited = [row['limit_share'] for row in rows if 'limit_share' in row]
        # the last piece of each worker may end too soon
        self.assertEqual(2, len([each for each in limited if each < 1.3]))
