# SPDX-License-Identifier: Apache-2.0
"""Prometheus and Nova's bus get what the real nova-computes tell."""

import json
import pathlib
import sys
import typing
import urllib.parse
import urllib.request

import nova_blockcopy
from nova_blockcopy.metrics import textfile
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import control
from nova_blockcopy.tests.cloud import hosts
from nova_blockcopy.tests.cloud import service
from nova_blockcopy.tests.cloud import user
from nova_blockcopy.tests.cloud.scenarios import blockcopy

_PLACE = hosts.STATE / 'textfiles'
_ALERTS = (
    pathlib.Path(nova_blockcopy.__file__).parents[1]
    / 'etc/nova-blockcopy/alerts.yaml'
)
_PROMETHEUS = 'http://127.0.0.1:9090'
_EXPORTER = 9100
#: node_exporter runs as another user than nova-compute.
_NOBODY = (
    *('setpriv', '--reuid', '65534', '--regid', '65534'),
    *('--clear-groups', '--'),
)


class TestMonitored(blockcopy.BlockCopyTestCase):
    options: typing.ClassVar = {
        'blockcopy': {'metrics_dir': str(_PLACE)},
        'oslo_messaging_notifications': {'driver': 'messagingv2'},
        'notifications': {'notification_format': 'versioned'},
    }

    def setUp(self):
        super().setUp()
        for each in self.cloud.computes:
            place = each.host.outside(_PLACE)
            place.mkdir(exist_ok=True)
            user.own(place)
        self.logs = self.cloud.control.logs

    def test_what_a_migration_tells(self):
        guest = self.boot()
        for each in self.cloud.computes:
            # the directory was not there when nova-compute started
            path = each.host.outside(_PLACE / textfile.NAME)
            self.assertTrue(waiting.until(path.exists, timeout=60))
        self.move(guest, self.cloud.b)
        self.assert_told(guest)
        self.assert_scraped(guest)

    # -- notifications ---------------------------------------------------

    def assert_told(self, guest):
        told = self.notifications()
        for at, role in (
            (self.cloud.a, 'source'),
            (self.cloud.b, 'destination'),
        ):
            own = [
                each
                for each in told
                if each['publisher'] == f'nova-compute:{at.name}'
            ]
            kinds = [each['type'].rpartition('.')[2] for each in own]
            self.assertEqual(('start', 'end'), (kinds[0], kinds[-1]))
            self.assertLessEqual({'phase', 'ready', 'pivot'}, {*kinds})
            for each in own:
                data = each['payload']['nova_object.data']
                self.assertEqual(
                    (guest.uuid, role, at.name),
                    (data['instance_uuid'], data['role'], data['host']),
                )
            self.assertEqual('completed', data['outcome'])
            self.assertLess(0, data['copied_bytes'])
        requests = {each['request'] for each in told}
        self.assertEqual(1, len(requests), str(requests))

    def notifications(self):
        """Those that wait on the bus, in which Nova keeps its own, too."""
        done = self.cloud.control.host.run(
            *(sys.executable, '-m', 'nova_blockcopy.tests.cloud.listener'),
            *(control.TRANSPORT, '120'),
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    # -- metrics ---------------------------------------------------------

    def assert_scraped(self, guest):
        for each in self.cloud.computes:
            self.start(self.node_exporter(each))
        self.start(self.prometheus())
        total = 'nova_blockcopy_migrations_total'
        for at, role in (
            (self.cloud.a, 'source'),
            (self.cloud.b, 'destination'),
        ):
            labels = f'host="{at.name}",role="{role}"'
            ended = f'{total}{{{labels},outcome="completed"}}'
            self.assertEqual(1.0, self.asked(ended))
            one = f'{labels},instance_uuid="{guest.uuid}"'
            copied = f'sum(nova_blockcopy_disk_copied_bytes_total{{{one}}})'
            self.assertEqual(
                self.asked(f'nova_blockcopy_copied_bytes_total{{{labels}}}'),
                self.asked(copied),
            )
        rules = self.get('/api/v1/rules')['data']['groups'][0]['rules']
        self.assertIn('NovaBlockcopyStuck', [each['name'] for each in rules])
        self.assertTrue(
            waiting.until(
                lambda: (
                    {'ok'}
                    == {
                        each['health']
                        for each in self.get('/api/v1/rules')['data'][
                            'groups'
                        ][0]['rules']
                    }
                ),
                timeout=120,
                interval=1,
            )
        )
        raised = self.get('/api/v1/alerts')['data']['alerts']
        self.assertEqual([], [each['labels'] for each in raised])

    def start(self, made: service.Service) -> None:
        made.start()
        self.addCleanup(made.stop)
        made.wait()

    def node_exporter(self, at):
        return service.Service(
            name='node_exporter',
            at=at.host,
            argv=(
                *(*_NOBODY, 'prometheus-node-exporter'),
                *('--collector.disable-defaults', '--collector.textfile'),
                f'--collector.textfile.directory={_PLACE}',
                f'--web.listen-address={at.host.address}:{_EXPORTER}',
            ),
            log=self.logs / f'node-exporter-{at.name}.log',
            answers=service.runs,
        )

    def prometheus(self):
        home = self.logs / 'prometheus'
        home.mkdir(exist_ok=True)
        config = home / 'prometheus.yml'
        config.write_text(
            json.dumps(
                {
                    'global': {
                        'scrape_interval': '1s',
                        'evaluation_interval': '1s',
                    },
                    'rule_files': [str(_ALERTS)],
                    'scrape_configs': [
                        {
                            'job_name': 'node',
                            'static_configs': [
                                {
                                    'targets': [
                                        f'{each.host.address}:{_EXPORTER}'
                                    ],
                                    'labels': {'host': each.name},
                                }
                                for each in self.cloud.computes
                            ],
                        }
                    ],
                }
            )
        )
        return service.Service(
            name='Prometheus',
            at=self.cloud.control.host,
            argv=(
                *('prometheus', f'--config.file={config}'),
                f'--storage.tsdb.path={home / "data"}',
                f'--web.listen-address={urllib.parse.urlsplit(_PROMETHEUS).netloc}',
            ),
            log=self.logs / 'prometheus.log',
            answers=service.says('Server is ready to receive web requests'),
        )

    def asked(self, query):
        """The value of a query, as soon as Prometheus has one."""
        found: list[typing.Any] = []

        def answered():
            found[:] = self.get(
                f'/api/v1/query?{urllib.parse.urlencode({"query": query})}'
            )['data']['result']
            return bool(found)

        self.assertTrue(
            waiting.until(answered, timeout=60, interval=0.5), query
        )
        ((_time, value),) = (each['value'] for each in found)
        return float(value)

    def get(self, path):
        def read():
            with urllib.request.urlopen(_PROMETHEUS + path, timeout=30) as f:
                return json.load(f)

        return self.cloud.control.host.call(read)
