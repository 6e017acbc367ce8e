# SPDX-License-Identifier: Apache-2.0
"""The samples in etc: Prometheus can use them, and each alert is raised."""

import json
import pathlib
import re
import subprocess
import tempfile

import ddt
import testtools
import yaml

import nova_blockcopy
from nova_blockcopy.metrics import catalogue

_ETC = pathlib.Path(nova_blockcopy.__file__).parents[1] / 'etc/nova-blockcopy'
_ALERTS = _ETC / 'alerts.yaml'
_DASHBOARD = _ETC / 'grafana-dashboard.json'

_HOST = 'instance="host-a"'
_ONE = f'{_HOST},instance_uuid="u",role="source"'
#: For each alert: the series, with values a minute apart, that raise it after
#: twenty minutes, and others that do not.
_CASES = {
    'NovaBlockcopyStuck': (
        {f'nova_blockcopy_unsettled{{{_ONE},state="stuck"}}': '1x20'},
        {f'nova_blockcopy_unsettled{{{_ONE},state="copying"}}': '1x20'},
    ),
    'NovaBlockcopyUnsettled': (
        {f'nova_blockcopy_unsettled{{{_ONE},state="copying"}}': '1x20'},
        {f'nova_blockcopy_unsettled{{{_ONE},state="stuck"}}': '1x20'},
    ),
    'NovaBlockcopyJournalUnreadable': (
        {f'nova_blockcopy_unreadable_journals{{{_HOST}}}': '1x20'},
        {f'nova_blockcopy_unreadable_journals{{{_HOST}}}': '0x20'},
    ),
    'NovaBlockcopyRollbacks': (
        {
            f'nova_blockcopy_migrations_total{{{_HOST},role="source",'
            f'outcome="undone"}}': '0+1x20'
        },
        {
            f'nova_blockcopy_migrations_total{{{_HOST},role="source",'
            f'outcome="aborted"}}': '0+1x20'
        },
    ),
    'NovaBlockcopyDestinationSilent': (
        {
            f'nova_blockcopy_migration_destination_silent_seconds{{{_ONE}}}': (
                '0+60x20'
            )
        },
        {
            f'nova_blockcopy_migration_destination_silent_seconds{{{_ONE}}}': (
                '90x20'
            )
        },
    ),
    'NovaBlockcopyRemoteWindow': (
        {
            'nova_blockcopy_migration_remote_window_start_timestamp_seconds'
            f'{{{_ONE}}}': '10x20'
        },
        {
            'nova_blockcopy_migration_remote_window_start_timestamp_seconds'
            f'{{{_ONE}}}': '1000x20'
        },
    ),
    'NovaBlockcopyRetries': (
        {f'nova_blockcopy_retries_total{{{_HOST},act="piece"}}': '0+2x20'},
        {f'nova_blockcopy_retries_total{{{_HOST},act="piece"}}': '7x20'},
    ),
    'NovaBlockcopyDeltaRoom': (
        {
            f'nova_blockcopy_delta_dir_available_bytes{{{_HOST}}}': '150x20',
            f'nova_blockcopy_delta_min_free_bytes{{{_HOST}}}': '100x20',
        },
        {
            f'nova_blockcopy_delta_dir_available_bytes{{{_HOST}}}': '250x20',
            f'nova_blockcopy_delta_min_free_bytes{{{_HOST}}}': '100x20',
        },
    ),
    'NovaBlockcopyMetricsOld': (
        {
            f'node_textfile_mtime_seconds{{{_HOST},'
            f'file="/x/nova-blockcopy.prom"}}': '60x20'
        },
        {
            f'node_textfile_mtime_seconds{{{_HOST},'
            f'file="/x/nova-blockcopy.prom"}}': '0+60x20'
        },
    ),
}


def promtool(*arguments):
    done = subprocess.run(
        ['promtool', *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def rules():
    (group,) = yaml.safe_load(_ALERTS.read_text())['groups']
    return {rule['alert']: rule for rule in group['rules']}


def expressions():
    """Those of the dashboard, with values in place of its variables."""
    panels = json.loads(_DASHBOARD.read_text())['panels']
    return [
        target['expr'].replace('$host', '.*')
        for panel in panels
        for target in panel['targets']
    ]


def metrics(text):
    """Our metrics that a text names."""
    return {
        re.sub('_(bucket|sum|count)$', '', name)
        for name in re.findall(r'nova_blockcopy_\w+', text)
    }


@ddt.ddt
class TestSamples(testtools.TestCase):
    def file(self, content):
        """A file of YAML, of which JSON is a part."""
        found = tempfile.NamedTemporaryFile('w', suffix='.yaml')
        self.addCleanup(found.close)
        json.dump(content, found)
        found.flush()
        return found.name

    def test_promtool_likes_the_alerts(self):
        code, said = promtool('check', 'rules', str(_ALERTS))
        self.assertEqual(0, code, said)
        self.assertIn(f'SUCCESS: {len(_CASES)} rules found', said)

    def test_promtool_likes_the_dashboard(self):
        groups = [
            {
                'name': 'dashboard',
                'rules': [
                    {'record': f'panel:{number}', 'expr': each}
                    for number, each in enumerate(expressions())
                ],
            }
        ]
        code, said = promtool('check', 'rules', self.file({'groups': groups}))
        self.assertEqual(0, code, said)

    @ddt.data(_ALERTS, _DASHBOARD)
    def test_the_metrics_are_there(self, path):
        """promtool does not know which ones a host has."""
        known = {metric.name for metric in catalogue.ALL}
        found = metrics(path.read_text())
        self.assertLess(5, len(found))
        self.assertEqual(set(), found - known)

    def test_each_alert_says_what_to_do(self):
        self.assertEqual(set(_CASES), set(rules()))
        for rule in rules().values():
            self.assertEqual({'summary', 'action'}, set(rule['annotations']))

    def raised(self, name, series):
        """Whether promtool agrees that the alert is raised after a while."""
        data = {
            'rule_files': [str(_ALERTS)],
            'evaluation_interval': '1m',
            'tests': [
                {
                    'interval': '1m',
                    'input_series': [
                        {'series': each, 'values': values}
                        for each, values in series.items()
                    ],
                    'alert_rule_test': [
                        {'eval_time': '20m', 'alertname': name}
                    ],
                }
            ],
        }
        code, said = promtool('test', 'rules', self.file(data))
        if code:
            # promtool expected no alert; it says which one it got
            self.assertIn(f'alertname="{name}"', said)
        return bool(code)

    @ddt.data(*_CASES)
    def test_an_alert(self, name):
        bad, good = _CASES[name]
        self.assertTrue(self.raised(name, bad))
        self.assertFalse(self.raised(name, good))
