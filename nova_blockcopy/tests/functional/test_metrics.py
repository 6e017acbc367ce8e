# SPDX-License-Identifier: Apache-2.0
"""The metrics that real migrations leave, read by Prometheus's own program."""

import subprocess

from prometheus_client import parser

from nova_blockcopy import exception
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.metrics import catalogue
from nova_blockcopy.metrics import exporter
from nova_blockcopy.metrics import textfile
from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import scene

#: Those without a value after the end, and those of other ends.
_NOT_THEN = {
    *(catalogue.PHASE, catalogue.WINDOW_START, catalogue.FORECAST),
    *(catalogue.SILENT, catalogue.DISK_LEFT, catalogue.DISK_RATE),
    *(catalogue.UNSETTLED, catalogue.ROLLBACKS),
}


def checked(content):
    """What promtool says of a text in the format of Prometheus."""
    done = subprocess.run(
        ['promtool', 'check', 'metrics'],
        input=content,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


class Written:
    """The file of one host: the value of each series."""

    def __init__(self, content):
        families = list(parser.text_string_to_metric_families(content))
        self.families = {each.name for each in families}
        self._series = [each for of in families for each in of.samples]

    def value(self, metric, *labels, suffix=''):
        (found,) = (
            each.value
            for each in self._series
            if each.name == metric.name + suffix
            and set(each.labels.values()) == set(labels)
        )
        return found

    def labels(self, metric):
        return [s.labels for s in self._series if s.name == metric.name]


class TestMetrics(base.TestCase):
    def setUp(self):
        super().setUp()
        self.exporters = {}
        for at in (self.lab.a, self.lab.b):
            directory = at.home / 'textfiles'
            at.call(directory.mkdir, exist_ok=True)
            settings = scene.settings(at, metrics_dir=str(directory))
            # its thread sees the files of the host
            made = at.call(exporter.Exporter(settings).start)
            self.addCleanup(made.close, 30)
            self.exporters[at.name] = made

    def written(self, at):
        """The file of a host, which promtool must like."""
        self.exporters[at.name].close(30)
        path = at.home / 'textfiles' / textfile.NAME
        content = at.call(path.read_text)
        self.assertEqual((0, ''), checked(content))
        return Written(content)

    def test_promtool_does_complain(self):
        code, said = checked(
            '# HELP x_total_s y\n# TYPE x_total_s counter\nx_total_s 1\n'
        )
        self.assertNotEqual(0, code)
        self.assertIn('x_total_s', said)

    def test_a_success(self):
        made = self.set_scene('block', 'layered')
        seen: list[progress.Progress] = []
        made.run(made.migration(seen.append, observers=self.exporters))
        self.assert_intact(made, self.lab.b)
        for at, role in ((self.lab.a, 'source'), (self.lab.b, 'destination')):
            found = self.written(at)
            self.assert_counted(found, role)
            self.assert_shown(found, role, made.guest.uuid)
            self.assertEqual(
                {
                    each.name.removesuffix('_total')
                    for each in set(catalogue.ALL) - _NOT_THEN
                },
                found.families,
            )
        copied = self.written(self.lab.a).value(catalogue.COPIED, 'source')
        self.assertEqual(seen[-1].processed_bytes, copied)

    def assert_counted(self, found, role):
        ended = found.value(catalogue.MIGRATIONS, role, 'completed')
        stops = found.value(catalogue.STOP, role, suffix='_count')
        journals = found.value(catalogue.JOURNALS, role)
        self.assertEqual((1, 1, 0), (ended, stops, journals))

    def assert_shown(self, found, role, uuid):
        disks = [
            found.value(catalogue.DISK_COPIED, uuid, role, disk)
            for disk in ('vda', 'vdb')
        ]
        self.assertLess(0, min(disks))
        self.assertEqual(sum(disks), found.value(catalogue.COPIED, role))
        size = found.value(catalogue.DISK_SIZE, uuid, role, 'vda')
        self.assertEqual(64 * base.MIB, size)
        self.assertEqual(
            found.value(catalogue.WINDOW_TOOK, uuid, role),
            found.value(catalogue.WINDOW, role, suffix='_sum'),
        )

    def test_an_abort_while_it_runs(self):
        made = self.set_scene('block')

        def listen(now):
            if now.state is states.State.COPYING:
                moving.abort()

        moving = made.migration(listen, observers=self.exporters)
        self.assertRaises(exception.MigrationUndone, lambda: made.run(moving))
        self.assert_intact(made, self.lab.a)
        found = self.written(self.lab.a)
        ended = found.value(catalogue.MIGRATIONS, 'source', 'aborted')
        self.assertEqual(1, ended)
        (labels,) = found.labels(catalogue.ROLLBACKS)
        self.assertIn(labels['phase'], ('copying', 'ready'))
