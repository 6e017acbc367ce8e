# SPDX-License-Identifier: Apache-2.0
"""A person asks before a live migration whether it would succeed."""

import json
import typing

import testscenarios

from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud import server
from nova_blockcopy.tests.cloud import service
from nova_blockcopy.tests.cloud import user
from nova_blockcopy.tests.cloud.scenarios import blockcopy


class TestPlan(testscenarios.WithScenarios, blockcopy.BlockCopyTestCase):  # type: ignore[misc]
    scenarios: typing.ClassVar = [
        (images, {'images': images}) for images in ('qcow2', 'lvm')
    ]
    options: typing.ClassVar = {'libvirt': {'block_migration_bandwidth': 256}}

    def planned(
        self, guest: server.Server, to: compute.Compute, code: int = 0
    ) -> typing.Any:
        """Run the command as Nova's user on host a; what it prints."""
        ended = self.cloud.a.host.run(
            *('env', *self.cloud.a.service.variables, *user.COMMAND),
            *(service.program('nova-blockcopy'), '--config-file'),
            *(str(user.ETC / 'nova.conf'), 'plan', guest.uuid),
            *('--to', to.name, '--seconds', '2', '-f', 'json'),
            check=False,
        )
        self.assertEqual(code, ended.returncode, ended.stderr + ended.stdout)
        return json.loads(ended.stdout)

    def test_before_a_live_migration(self):
        guest = self.boot()
        found = self.planned(guest, self.cloud.b)
        self.assertEqual([], found['refusals'])
        self.assertEqual(blockcopy.MODE, found['mode'])
        self.assertEqual(
            list(guest.targets),
            [each['disk'] for each in found['disks']],
        )
        self.assertEqual(
            [True] * 3, [each['answers'] for each in found['ports']]
        )
        (room,) = (
            each for each in found['rooms'] if each['purpose'] == 'the bases'
        )
        self.assertEqual(
            self.images == 'lvm', room['place'].startswith('volume group')
        )
        self.assertLess(0, room['needed'])
        self.assert_nothing_left(self.cloud.a)
        self.move(guest, self.cloud.b)

    def test_nova_refuses_what_the_plan_refuses(self):
        guest = self.boot()
        obstacle = self.cloud.b.path(guest.uuid)
        obstacle.mkdir()
        (reason,) = self.planned(guest, self.cloud.b, code=6)['refusals']
        self.assertIn('already exists on lab-b', reason)
        guest.live_migrate(self.cloud.b)
        self.assertEqual('error', guest.wait_for_migration().status)
        event = guest.events()['compute_check_can_live_migrate_source']
        self.assertIn('already exists on lab-b', event['details'])
        self.assert_intact(guest, self.cloud.a)
        obstacle.rmdir()
        self.move(guest, self.cloud.b)

    def test_without_nova_compute_there(self):
        guest = self.boot()
        self.cloud.b.stop()
        self.addCleanup(self.cloud.b.restart)
        found = self.planned(guest, self.cloud.b, code=7)
        self.assertIn('The destination was not asked', found['result'][1])
