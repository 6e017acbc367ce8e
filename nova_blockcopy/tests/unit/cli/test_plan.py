# SPDX-License-Identifier: Apache-2.0
"""``plan`` says what would be, and changes nothing."""

import contextlib
import json
import os
import socket

import fixtures

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import wire
from nova_blockcopy.cli import plan
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import reach
from nova_blockcopy.migration import control
from nova_blockcopy.migration import peer
from nova_blockcopy.migration import status
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.migration.destination import surroundings
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.cli import base

GUEST = samples.UUID
SIZE = 64 * 1024 * 1024
PLAN = ('plan', GUEST, '--to', 'host-b', '--seconds', '0')


class Here(surroundings.Unknown):
    """The destination listens at an address of this machine."""

    def address(self) -> str:
        return '127.0.0.1'


class PlanTestCase(base.CliTestCase):
    def setUp(self):
        super().setUp()
        self.disk = self.directory / 'disk'
        with open(self.disk, 'wb') as f:
            f.write(os.urandom(3 * 2**20))
            f.truncate(SIZE)
        self.machine.xml = samples.domain(samples.file_xml('vda', self.disk))
        listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listener.close)
        port = listener.getsockname()[1]
        self.options.set_override(
            'live_migration_uri', f'qemu+tcp://%s:{port}/system', 'libvirt'
        )
        self.options.set_override(
            'live_migration_inbound_addr', '127.0.0.1', 'libvirt'
        )
        self.there = fakes.Connection()
        (self.directory / 'b').mkdir()
        self.far = {}

    @contextlib.contextmanager
    def nova_compute(self, call=None):
        """The nova-compute of this host, which reaches host-b."""
        answers = dispatcher.Dispatcher(
            self.there.hypervisor('host-b'),
            samples.settings(self.directory / 'b', **self.far),
            known=Here(),
        )
        channel = peer.InProcess(call or answers.handle)

        def handle(message):
            return peer.answered(
                control.RELAY,
                lambda: {'answer': channel.call(message['message'])},
            )

        with control.listening(
            self.site.journal.directory, control.SERVICE, handle
        ):
            yield

    def planned(self, code, *more):
        self.assertEqual(
            code, self.run_it(*PLAN, '-f', 'json', *more), self.err.getvalue()
        )
        return self.read()

    def read(self):
        return json.loads(self.out.getvalue())


class TestPlan(PlanTestCase):
    def test_a_migration_that_would_begin(self):
        with self.nova_compute():
            found = self.planned(0)
        self.assertEqual(['The migration would begin.'], found['result'])
        self.assertEqual([], found['refusals'])
        self.assertEqual('seeded', found['mode'])
        self.assertEqual(3 * 2**20, found['travels'])
        self.assertEqual(
            (None, None, []),
            (found['writes'], found['link'], found['at_link_rate']),
        )
        (disk,) = found['disks']
        self.assertEqual(
            ('vda', str(self.disk), SIZE, 3 * 2**20),
            (disk['disk'], disk['path'], disk['size'], disk['travels']),
        )
        self.assertEqual(
            {
                ('source', "libvirt's port"),
                ('destination', "libvirt's port"),
                ('destination', 'first free port of the exports'),
            },
            {
                (port['from'], port['purpose'])
                for port in found['ports']
                if port['answers']
            },
        )
        self.assertEqual(3, len(found['ports']))
        self.assertEqual(
            ['source', 'destination'],
            [each['side'] for each in found['versions']],
        )

    def test_it_fits_into_80_columns(self):
        self.far = {'export_tls': True}
        with self.nova_compute():
            self.assertEqual(6, self.run_it(*PLAN), self.err.getvalue())
        lines = self.out.getvalue().splitlines()
        self.assertLessEqual(max(map(len, lines)), 80)

    def test_other_formats(self):
        self.far = {'export_tls': True}
        for name in ('yaml', 'value', 'shell'):
            with self.nova_compute():
                self.assertEqual(6, self.run_it(*PLAN, '-f', name))
            self.assertIn('export_tls is True', self.out.getvalue())

    def test_nothing_is_changed(self):
        before = self.machine.xml
        with self.nova_compute():
            files = self.files()
            self.planned(0)
            self.assertEqual(files, self.files())
        self.assertEqual(before, self.machine.xml)
        self.assertEqual([], self.site.journal.guests())

    def files(self):
        return {
            (str(path), path.stat().st_mtime_ns)
            for path in self.directory.rglob('*')
            if path.is_file()
        }

    def test_the_writes(self):
        written = iter([(0, 0), (64 * 2**20, 1024)])
        self.machine.on_count = lambda _disk: next(written)
        self.site.settings = self.settings(block_migration_bandwidth=8)
        with self.nova_compute():
            code = self.run_it(*PLAN[:-1], '0.05', '-f', 'json')
        self.assertEqual(0, code, self.err.getvalue())
        found = self.read()
        # 64 MiB in no less than 0.05 s
        self.assertTrue(0 < found['writes'] <= 64 * 2**20 / 0.05)
        (limit,) = found['at_limit']
        self.assertFalse(limit['converges'])
        self.assertEqual(3 * 2**20, limit['rounds'][0])
        (link,) = found['at_link_rate']
        self.assertEqual(found['link'], link['rate'])
        self.assertGreater(found['link'], 8 * 2**20)


class TestRefused(PlanTestCase):
    def test_every_reason_of_both_hosts(self):
        self.far = {'export_tls': True}
        self.there.machines[GUEST] = fakes.Machine(self.machine.xml)
        self.machine.snapshots = ['s1']
        self.machine.xml = samples.domain(
            samples.file_xml('vda', self.disk),
            samples.disk_xml('vdb', more='<transient/>'),
            samples.file_xml('vdc', self.directory / 'none'),
        )
        with self.nova_compute():
            found = self.planned(6)
        self.assertEqual(['The migration would be refused.'], found['result'])
        for words in (
            'vdb of guest "guest" cannot be moved: it is transient',
            'vdc of guest "guest" cannot be moved',
            'snapshot s1',
            'export_tls is True on host-b and False on host-a',
            'already exists on host-b',
        ):
            self.assertEqual(
                1, sum(words in each for each in found['refusals']), words
            )

    def test_an_unfinished_migration_on_each_host(self):
        self.begun()
        self.site.settings = self.settings(allow_plaintext=False)
        with self.nova_compute():
            found = self.planned(6)
        self.assertTrue(
            any('unfinished migration' in each for each in found['refusals'])
        )
        self.assertTrue(
            any('clear text' in each for each in found['refusals'])
        )

    def test_a_guest_that_is_not_here(self):
        self.connection.machines.clear()
        found = self.planned(6)
        self.assertIn(f'No guest "{GUEST}"', ' '.join(found['refusals']))
        self.assertEqual([], found['disks'])

    def test_a_libvirt_that_does_not_answer(self):
        self.options.set_override(
            'live_migration_uri', 'qemu+tcp://%s:1/system', 'libvirt'
        )
        self.useFixture(fixtures.MonkeyPatch(f'{reach.__name__}._PAUSE', 0.01))
        with self.nova_compute():
            found = self.planned(6)
        self.assertIn(
            'cannot be reached from host-a', ' '.join(found['refusals'])
        )
        self.assertIn(
            'cannot be reached from host-b', ' '.join(found['refusals'])
        )
        self.assertEqual(
            {False, True}, {each['answers'] for each in found['ports']}
        )


class TestUnasked(PlanTestCase):
    """The source is shown, and why there is no more."""

    def unasked(self, *words, call=None):
        with contextlib.ExitStack() as stack:
            if call is not None:
                stack.enter_context(self.nova_compute(call))
            found = self.planned(7)
        against, result = found['result']
        self.assertIn('Nothing on the source', against)
        self.assertIn('The destination was not asked', result)
        for each in words:
            self.assertIn(each, result)
        self.assertEqual(['vda'], [each['disk'] for each in found['disks']])
        self.assertEqual(
            ['source'], [each['side'] for each in found['versions']]
        )

    def test_nova_compute_does_not_run(self):
        self.unasked('No running nova-compute listens')

    def failing(self, error):
        return lambda _message: {'error': peer.failure(error)}

    def test_a_host_without_the_plugin(self):
        error = exception.NoPeer(operation='appraise', host='host-b')
        self.unasked('does not run nova-blockcopy', call=self.failing(error))

    def test_a_host_of_an_older_version(self):
        def older(message):
            answers = dispatcher.Dispatcher(
                self.there.hypervisor('host-b'),
                samples.settings(self.directory / 'b'),
            )
            if message['operation'] == 'appraise':
                message['operation'] = 'appraise_by_another_name'
            return answers.handle(message)

        self.unasked('run the same version', call=older)

    def test_a_host_that_gives_no_answer(self):
        def slow(message):
            busy = status.Task(name='appraise', done=False)
            now = status.Status(
                state=None,
                pivoted=(),
                power=hypervisor.Power.OFF,
                disks=(),
                task=busy,
            )
            return wire.pack(now) if message['operation'] == 'status' else {}

        with self.nova_compute(slow):
            found = self.planned(7, '--deadline', '0.2')
        self.assertIn('no answer within 0.2 s', found['result'][1])


class TestChoice(base.CliTestCase):
    def chosen(self, *xml):
        text = samples.domain(*xml)
        return plan.choose(text, domxml.disks(text))

    def test_a_volume_of_cinder_is_left_to_nova(self):
        found = self.chosen(
            samples.disk_xml('vda'),
            samples.disk_xml('vdb', more='<serial>s</serial>'),
            samples.remote_xml('vdc'),
        )
        self.assertEqual(['vda'], list(found.moves))
        self.assertEqual({'vdb', 'vdc'}, set(found.shared))

    def test_what_each_host_makes_travels_as_a_whole(self):
        xml = samples.domain(*map(samples.disk_xml, ('vda', 'vdb', 'vdc')))
        for target, below in (
            ('vda', '/_base/abc'),
            ('vdb', '/_base/ephemeral_1_40d1d2c'),
            ('vdc', '/_base/swap_64'),
        ):
            image = samples.layered(f'/i/{target}', below)
            xml = fakes.with_source(xml, target, image)
        found = plan.choose(xml, domxml.disks(xml))
        self.assertEqual(['vda', 'vdb', 'vdc'], list(found.moves))
        self.assertEqual(['vdb', 'vdc'], list(found.whole))
