#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""A migration that does not end as it was meant to, and the next one."""

import typing

from nova_blockcopy import waiting
from nova_blockcopy.tests.cloud.scenarios import blockcopy

#: MiB/s; two disks of 1 GiB take half a minute.
_BANDWIDTH = 64


class EndsTestCase(blockcopy.BlockCopyTestCase):
    """On volumes, which have no holes, so that there is time."""

    images = 'lvm'
    options: typing.ClassVar = {
        'libvirt': {
            'block_migration_bandwidth': _BANDWIDTH,
            'live_migration_monitor_interval': 1,
        },
        # shorter than the copy takes, so that nothing may depend on them
        'DEFAULT': {'rpc_response_timeout': 10, 'long_rpc_timeout': 20},
    }

    def moving(self, state):
        """A guest whose migration is in this state."""
        guest = self.boot()
        guest.live_migrate(self.cloud.b)
        self.wait_for_state(guest, self.cloud.a, state)
        return guest

    def assert_at_home(self, guest):
        """As before, with nothing left, and the next attempt succeeds."""
        self.assert_intact(guest, self.cloud.a)
        self.assert_nothing_left(self.cloud.a)
        self.assertEqual([self.cloud.a.name], self.allocated(guest))


class TestAbort(EndsTestCase):
    def test_in_the_switchover(self):
        guest = self.moving('switching')
        guest.abort()
        guest.wait_for_migration('cancelled')
        self.assert_at_home(guest)

    def test_during_the_copy_then_again(self):
        guest = self.moving('copying')
        shown = self._progress(guest)
        self.assertGreater(shown['disk_total_bytes'], 0)
        self.assertGreater(shown['disk_remaining_bytes'], 0)
        guest.abort()
        guest.wait_for_migration('cancelled')
        self.assert_at_home(guest)
        self.move(guest, self.cloud.b)

    def _progress(self, guest):
        """What the API shows, once it shows something of the disks."""
        found: dict[str, int] = {}

        def shown():
            number = guest.migrations()[0].id
            path = f'/servers/{guest.uuid}/migrations/{number}'
            found.update(self.cloud.api.compute('GET', path)['migration'])
            return bool(found['disk_total_bytes'])

        waiting.until(shown, timeout=30)
        return found


class TestRefused(EndsTestCase):
    def test_a_base_that_exists_already(self):
        guest = self.boot()
        group = self.cloud.b.volumes.group
        name = f'{guest.uuid}_disk'
        self._lvm('lvcreate', '-L', '67108864b', '-n', name, group)
        self.addCleanup(
            self._lvm, 'lvremove', '-f', f'/dev/{group}/{name}', check=False
        )
        guest.live_migrate(self.cloud.b)
        self.assertEqual('error', guest.wait_for_migration().status)
        self.assert_intact(guest, self.cloud.a)
        self.assertEqual([name], self.cloud.b.volumes.names())
        self._lvm('lvremove', '-f', f'/dev/{group}/{name}')
        self.move(guest, self.cloud.b)

    def _lvm(self, command, *arguments, check=True):
        volumes = self.cloud.b.volumes
        program = command
        if volumes.commands is not None:
            program = f'{volumes.commands}/{command}'
        self.cloud.b.host.run(program, *arguments, check=check)


class TestRestart(EndsTestCase):
    """nova-compute is killed, and comes back."""

    def test_the_source_during_the_copy(self):
        guest = self.moving('copying')
        self.cloud.a.kill()
        self.cloud.a.restart()
        guest.wait_for_status('ACTIVE')
        self.assert_at_home(guest)

    def test_the_source_during_the_switchover(self):
        guest = self.moving('switching')
        self.cloud.a.kill()
        self.cloud.a.restart()
        guest.wait_for_status('ACTIVE')
        self.assert_at_home(guest)

    def test_the_source_during_the_pivot(self):
        guest = self.moving('pivoting')
        self.cloud.a.kill()
        self.cloud.a.restart()
        guest.wait_for_status('ACTIVE')
        self.assert_intact(guest, guest.at)
        self.assert_nothing_left(guest.at)

    def test_the_destination_during_the_copy(self):
        guest = self.moving('copying')
        self.cloud.b.kill()
        self.cloud.b.restart()
        guest.wait_for_migration()
        guest.wait_for_status('ACTIVE')
        self.assert_at_home(guest)

    def test_the_destination_during_the_switchover(self):
        guest = self.moving('switching')
        self.cloud.b.kill()
        self.cloud.b.restart()
        guest.wait_for_migration()
        guest.wait_for_status('ACTIVE')
        self.assert_intact(guest, guest.at)
        self.assert_nothing_left(guest.at)

    def test_the_destination_during_the_pivot(self):
        guest = self.moving('pivoting')
        self.cloud.b.kill()
        self.cloud.b.restart()
        guest.wait_for_migration('completed')
        self.assert_intact(guest, self.cloud.b)
        self.assert_nothing_left(self.cloud.b)
