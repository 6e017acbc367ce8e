# SPDX-License-Identifier: Apache-2.0
"""The file with the metrics of a host."""

import os
import stat
import threading

import fixtures
from prometheus_client import parser

from nova_blockcopy import events
from nova_blockcopy import states
from nova_blockcopy.metrics import exporter
from nova_blockcopy.metrics import textfile
from nova_blockcopy.records import journal
from nova_blockcopy.records import keeping
from nova_blockcopy.records import report
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import lines
from nova_blockcopy.tests.unit import samples

_SECONDS = 30


class TestExporter(base.TestCase):
    def setUp(self):
        super().setUp()
        self.lines = self.useFixture(lines.Lines())
        self.metrics = self.directory / 'textfiles'
        self.metrics.mkdir()
        self.known = self.settings(metrics_dir=str(self.metrics))
        self.path = self.metrics / textfile.NAME

    def start(self):
        made = exporter.Exporter(self.known).start()
        self.addCleanup(made.close, _SECONDS)
        return made

    def begin(self, observer):
        observer(
            events.Started(
                subject=samples.subject(),
                state=states.State.PREPARING,
                limit=0,
                disks={'vda': 64},
            )
        )

    def found(self):
        """The present values, by name and labels."""
        if not self.path.exists():
            return {}
        return {
            (each.name, *sorted(each.labels.values())): each.value
            for family in parser.text_string_to_metric_families(
                self.path.read_text()
            )
            for each in family.samples
        }

    def wait_for(self, *series):
        self.assertTrue(
            waiting.until(lambda: series in self.found(), timeout=_SECONDS),
            f'{series} is not in {self.found()}',
        )
        return self.found()[series]

    def test_without_a_directory_there_is_nothing(self):
        self.assertEqual((), exporter.observers(self.settings()))
        names = [thread.name for thread in threading.enumerate()]
        self.assertNotIn('blockcopy-metrics', names)

    def test_a_host_where_nothing_moves(self):
        self.start()
        self.assertEqual(
            0,
            self.wait_for(
                'nova_blockcopy_migrations_total', 'source', 'undone'
            ),
        )
        self.assertEqual(
            0, self.wait_for('nova_blockcopy_unreadable_journals')
        )

    def test_a_begin_is_written_at_once(self):
        """Before the interval is over, which is longer than this test."""
        self.useFixture(
            fixtures.MonkeyPatch(f'{exporter.__name__}._INTERVAL', 600.0)
        )
        made = self.start()
        self.wait_for('nova_blockcopy_journals', 'source')
        self.begin(made)
        self.assertEqual(
            64,
            self.wait_for(
                *('nova_blockcopy_disk_size_bytes', samples.UUID),
                *('source', 'vda'),
            ),
        )

    def test_other_users_may_read_the_file(self):
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        self.start()
        self.wait_for('nova_blockcopy_journals', 'source')
        self.assertEqual(0o644, stat.S_IMODE(self.path.stat().st_mode))
        self.assertEqual([self.path], list(self.metrics.iterdir()))

    def test_what_an_earlier_process_has_left(self):
        for guest, state in (
            (samples.UUID, states.State.STUCK),
            (f'{samples.UUID[:-1]}6', states.State.PIVOTING),
            (f'{samples.UUID[:-1]}7', states.State.SEEDING),
        ):
            journal.Journal(self.known.journal_dir).open(
                samples.record(guest=guest, state=state)
            )
        report.Reports(self.known.journal_dir).fail(
            f'{samples.UUID[:-1]}6', 'm1', 'no answer'
        )
        broken = self.directory / 'journal' / f'{samples.UUID[:-1]}8.json'
        broken.write_text('{')
        self.start()
        self.assertEqual(3, self.wait_for('nova_blockcopy_journals', 'source'))
        self.assertEqual(
            1, self.wait_for('nova_blockcopy_unreadable_journals')
        )
        self.assertEqual(
            [
                (samples.UUID, 'b', 'source', 'stuck'),
                (f'{samples.UUID[:-1]}6', 'b', 'pivoting', 'source'),
            ],
            [
                series[1:]
                for series in self.found()
                if series[0] == 'nova_blockcopy_unsettled'
            ],
        )

    def test_the_space_of_the_host(self):
        deltas = self.directory / 'deltas'
        deltas.mkdir()
        keeping.Notes(self.known.journal_dir).write(
            samples.UUID, keeping.Note(until=1.0)
        )
        self.start()
        self.assertEqual(1, self.wait_for('nova_blockcopy_kept_bases'))
        self.assertEqual(
            self.known.delta_min_free * 2**20,
            self.wait_for('nova_blockcopy_delta_min_free_bytes'),
        )
        room = self.wait_for('nova_blockcopy_delta_dir_available_bytes')
        self.assertLess(0, room)

    def test_a_directory_that_is_gone_is_one_warning(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{exporter.__name__}._INTERVAL', 0.01)
        )
        made = self.start()
        self.wait_for('nova_blockcopy_journals', 'source')
        self.metrics.rename(self.directory / 'gone')
        self.assertTrue(
            waiting.until(
                lambda: bool(self.lines.of('WARNING')), timeout=_SECONDS
            )
        )
        self.begin(made)
        self.metrics.mkdir()
        self.wait_for(
            *('nova_blockcopy_disk_size_bytes', samples.UUID),
            *('source', 'vda'),
        )
        made.close(_SECONDS)
        (said,) = self.lines.of('WARNING')
        self.assertIn(str(self.path), said)
        self.assertIn('No such file or directory', said)
        self.assertIn('[blockcopy] metrics_dir', said)
        self.assertTrue(any('again' in each for each in self.lines.of('INFO')))

    def test_the_last_figures_are_written_at_the_end(self):
        made = self.start()
        self.begin(made)
        made(
            events.Ended(
                subject=samples.subject(),
                outcome=events.Outcome.ABORTED,
                reason='',
                copied_bytes=5,
                phases={},
            )
        )
        made.close(_SECONDS)
        name = 'nova_blockcopy_migrations_total'
        self.assertEqual(1, self.found()[name, 'aborted', 'source'])
