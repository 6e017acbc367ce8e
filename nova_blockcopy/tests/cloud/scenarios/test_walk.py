# SPDX-License-Identifier: Apache-2.0
"""An operator with nothing but the README and the commands."""

import json
import typing

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud import server
from nova_blockcopy.tests.cloud.scenarios import blockcopy
from nova_blockcopy.tests.cloud.scenarios import ends

#: MiB/s: slow enough to look at, and to change.
_SLOW, _FAST = 8, 64


class TestWalk(ends.EndsTestCase):
    options: typing.ClassVar = {
        'libvirt': {
            'block_migration_bandwidth': _SLOW,
            'live_migration_monitor_interval': 1,
        },
    }

    def test_check_plan_move_break_recover_drain(self):
        here, there = self.cloud.a, self.cloud.b
        for each in (here, there):
            self.check(each)
        guest = self.boot()
        self.plan(guest, here, there)
        self.look_limit_and_abort(guest, here, there)
        self.break_and_recover(guest, here, there)
        self.drain(guest, here, there)
        self.assert_at_home(guest, there)

    def check(self, at: compute.Compute) -> None:
        """No check fails: 0 is success, and 1 has warnings."""
        done = at.command(
            *('nova-blockcopy-status', 'upgrade', 'check'), check=False
        )
        self.assertIn(done.returncode, (0, 1), done.stdout + done.stderr)

    def plan(
        self, guest: server.Server, here: compute.Compute, to: compute.Compute
    ) -> None:
        """It would go, and nothing has changed."""
        found = self.json(here, 'plan', guest.uuid, '--to', to.name)
        self.assertEqual(blockcopy.MODE, found['mode'])
        self.assert_at_home(guest, here)

    def look_limit_and_abort(
        self, guest: server.Server, here: compute.Compute, to: compute.Compute
    ) -> None:
        guest.live_migrate(to)
        self.wait_for_state(guest, here, ends.LONG)
        (row,) = self.json(here, 'list')
        self.assertIn(guest.uuid, row.values())
        self.assertIn(ends.LONG, row.values())
        self.run_it(here, 'limit', guest.uuid, str(_FAST))
        shown = self.json(here, 'show', guest.uuid)
        self.assertIn(_FAST * 2**20, shown.values())
        self.run_it(here, 'abort', guest.uuid)
        guest.wait_for_migration()
        self.assert_at_home(guest, here)
        told = [
            event['details']
            for event in guest.events().values()
            if event.get('details')
        ]
        self.assertIn('abort', ' '.join(told).lower())

    def break_and_recover(
        self, guest: server.Server, here: compute.Compute, to: compute.Compute
    ) -> None:
        """The destination ends while the bases are filled, and stays away."""
        guest.live_migrate(to)
        self.wait_for_state(guest, here, ends.LONG)
        to.kill()
        self.assertTrue(
            waiting.until(
                lambda: self.state(guest, here) == 'stuck', timeout=300
            )
        )
        shown = self.json(here, 'show', guest.uuid)
        self.assertIn(to.name, json.dumps(shown))
        refused = here.command(
            'nova-blockcopy', 'settle', guest.uuid, check=False
        )
        self.assertEqual(1, refused.returncode, refused.stdout)
        self.assertIn('Missing:', refused.stderr)
        to.restart()
        waiting.until(
            lambda: (
                here.command(
                    'nova-blockcopy', 'settle', guest.uuid, check=False
                ).returncode
                in (0, 3)  # nova-compute may have been first
            ),
            timeout=120,
            interval=1,
        )
        guest.wait_for_status('ACTIVE')
        self.assert_at_home(guest, here)

    def drain(
        self, guest: server.Server, here: compute.Compute, to: compute.Compute
    ) -> None:
        """Move the only instance of a host, and watch that."""
        guest.live_migrate(to)
        self.wait_for_state(guest, here, ends.LONG)
        self.run_it(here, 'limit', guest.uuid, '0')
        self.assertIn('has ended', self.run_it(here, 'watch', guest.uuid))
        self.assertEqual('completed', guest.wait_for_migration().status)
        self.assertEqual([], self.json(here, 'list'))

    def run_it(self, at: compute.Compute, *argv: str) -> str:
        """Run the command on a host; what it prints."""
        return at.command('nova-blockcopy', *argv).stdout

    def json(self, at: compute.Compute, *argv: str) -> typing.Any:
        return json.loads(self.run_it(at, *argv, '-f', 'json'))
