# SPDX-License-Identifier: Apache-2.0
"""``nova-blockcopy plan`` on real hosts, and the migration that follows."""

import contextlib
import hashlib
import json
import os
import re
from typing import Any

from nova_blockcopy import appraisal
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import usage
from nova_blockcopy.migration import control
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.migration.destination import surroundings
from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.functional import test_command
from nova_blockcopy.tests.lab import scene

State = states.State
MIB = base.MIB
_ROUND = re.compile(r'round (\d+): .*?([\d.]+) MiB are left')


class Surroundings:
    """The destination's directory of images is where bases go."""

    def __init__(self, at):
        self._at = at

    def address(self):
        return self._at.address

    def survey(self, _guest, needs):
        place = str(self._at.images)
        room = appraisal.Room(
            purpose='the bases',
            place=place,
            free_bytes=usage.free(place) or 0,
            needed_bytes=sum(need.travel_bytes for need in needs),
        )
        return surroundings.Found(rooms=(room,))


class TestPlan(test_command.CommandTestCase):
    limit = 32

    def start(self, *kinds, **options):
        return self.set_scene(
            *(kinds or ('block', 'layered')),
            size=96 * MIB,
            data=48 * MIB,
            block_migration_bandwidth=self.limit,
            **options,
        )

    @contextlib.contextmanager
    def nova_compute(self, made, **options):
        """Pass messages on, as the nova-compute of the source does."""
        answers = made.away.call(
            lambda: dispatcher.Dispatcher(
                hypervisor.Hypervisor(
                    made.away.hostname, hypervisor.Connector(made.away.uri)
                ),
                scene.settings(made.away, **options),
                known=Surroundings(made.away),
            )
        )

        def handle(order):
            return peer.answered(
                control.RELAY,
                lambda: {
                    'answer': made.away.call(answers.handle, order['message'])
                },
            )

        directory = str(made.home.outside(made.home.home / 'journal'))
        with control.listening(directory, control.SERVICE, handle):
            yield

    def planned(self, made, code=0, seconds=2):
        ended = self.command(
            made.home,
            *('plan', made.guest.uuid, '--to', made.away.hostname),
            *('--seconds', str(seconds), '-f', 'json'),
        )
        self.assertEqual(code, ended.returncode, ended.stderr + ended.stdout)
        return json.loads(ended.stdout)

    def picture(self, made):
        """All that a plan could change: XML, processes and files."""
        found: dict[str, Any] = {}
        for at in self.lab.hosts:
            connection = at.connect()
            try:
                found[at.name] = [
                    (domain.UUIDString(), domain.XMLDesc(0))
                    for domain in connection.listAllDomains()
                ]
            finally:
                connection.close()
            root = at.outside(at.home)
            for folder, _folders, names in os.walk(root):
                for name in names:
                    path = os.path.join(folder, name)
                    if name != 'nova.conf' and os.path.isfile(path):
                        found[path] = os.stat(path).st_ino
        for target, disk in made.bases.items():
            content = disk.file.read_bytes()
            found[f'base of {target}'] = hashlib.sha256(content).hexdigest()
        return found

    def test_it_says_what_the_migration_then_does(self):
        made = self.start(load=2 * MIB)
        with self.nova_compute(made):
            before = self.picture(made)
            plan = self.planned(made)
            self.assertEqual(before, self.picture(made))
        self.assertEqual([], plan['refusals'])
        self.assertEqual(['The migration would begin.'], plan['result'])
        # two namespaces on one machine
        self.assertGreater(plan['link'], self.limit * MIB)
        self.assertEqual(
            [True] * 3, [each['answers'] for each in plan['ports']], plan
        )
        seen: list[progress.Progress] = []
        record = made.run(made.migration(seen.append))
        self.assertEqual(plan['mode'], record.mode)
        self.assertEqual(
            [each['disk'] for each in plan['disks']],
            [move.disk for move in record.moves],
        )
        # a layered disk grows by what the guest has written meanwhile
        first = next(
            now.total_bytes
            for now in seen
            if now.state is State.SEEDING and now.total_bytes
        )
        self.assertTrue(0 <= first - plan['travels'] <= 8 * MIB, first)
        (limit,) = plan['at_limit']
        self.assertEqual(plan['travels'], limit['rounds'][0])
        notes = [_ROUND.search(each.note) for each in record.history]
        left = [float(note[2]) * MIB for note in notes if note]
        # written bytes are more than a delta holds, but not far more
        self.assertTrue(limit['converges'])
        self.assertTrue(
            limit['deltas'] / 4 < sum(left) < 2 * limit['deltas'],
            (limit, left),
        )
        self.assertIn(len(left) - len(limit['rounds']), (-1, 0, 1))
        self.assert_intact(made, self.lab.b)

    def test_every_reason_at_once(self):
        made = self.start('qcow2')
        made.home.run(
            'virsh', 'checkpoint-create-as', made.guest.uuid, 'first'
        )
        with self.nova_compute(made, export_tls=True):
            before = self.picture(made)
            plan = self.planned(made, code=6, seconds=0)
            self.assertEqual(before, self.picture(made))
        told = ' '.join(plan['refusals'])
        for words in ('export_tls is True', 'checkpoint first'):
            self.assertIn(words, told)

    def test_a_guest_that_writes_too_fast(self):
        self.limit = 4
        made = self.start('block', load=24 * MIB, load_length=32 * MIB)
        with self.nova_compute(made):
            plan = self.planned(made)
        self.assertEqual([], plan['refusals'])
        (limit,) = plan['at_limit']
        self.assertFalse(limit['converges'])
        record = made.run(made.migration())
        notes = [each.note for each in record.history]
        self.assertIn('too fast', ' '.join(notes))
        self.assert_intact(made, self.lab.b)

    def test_no_room_for_deltas(self):
        made = self.start('raw')
        with self.nova_compute(made, delta_min_free=2**30):
            plan = self.planned(made, seconds=0)
        self.assertEqual('direct', plan['mode'])
        record = made.run(made.migration(delta_min_free=2**30))
        self.assertEqual('direct', record.mode)
        self.assert_intact(made, self.lab.b)

    def test_without_nova_compute(self):
        made = self.start('raw')
        plan = self.planned(made, code=7, seconds=0)
        self.assertIn('No running nova-compute', ' '.join(plan['result']))
        self.assertEqual(['vda'], [each['disk'] for each in plan['disks']])
