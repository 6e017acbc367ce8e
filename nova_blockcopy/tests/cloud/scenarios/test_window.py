# SPDX-License-Identifier: Apache-2.0
"""What a user or Nova may try while a guest depends on both hosts."""

import dataclasses
import typing
from typing import Any

from keystoneauth1 import exceptions  # type: ignore[import-not-found]

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud.scenarios import ends


class TestWindow(ends.EndsTestCase):
    options: typing.ClassVar = {
        **ends.EndsTestCase.options,
        'DEFAULT': {'running_deleted_instance_poll_interval': 5},
    }

    def test_what_the_api_refuses(self):
        guest = self.moving('copying')
        actions: tuple[dict[str, Any], ...] = (
            {'reboot': {'type': 'HARD'}},
            {'reboot': {'type': 'SOFT'}},
            {'os-stop': None},
            {'suspend': None},
            {'pause': None},
            {'rescue': {}},
            {'createImage': {'name': 'picture'}},
            {'resize': {'flavorRef': self._flavor()}},
            {'migrate': None},
            {'os-migrateLive': {'host': None, 'block_migration': True}},
            {'shelve': None},
        )
        with self.held(guest):
            for action in actions:
                self.assertRaises(
                    exceptions.Conflict, self._act, guest, action
                )
        guest.wait_for_migration('completed')
        self.assert_intact(guest, self.cloud.b)
        self.assert_nothing_left(self.cloud.b)

    def test_deleted(self):
        guest = self.moving('copying')
        guest.delete()
        for each in self.cloud.computes:
            self.assert_nothing_left(each)

    def test_deleted_while_its_host_is_down(self):
        """Nova has nothing of it any more, and there are two hosts' disks.

        Nor does it know any more how a port was plugged.
        """
        guest = self.moving('copying', networked=False)
        self.cloud.a.kill()
        self.cloud.a.force_down(down=True)
        self.addCleanup(self.cloud.a.force_down, down=False)
        guest.delete()
        self.cloud.a.force_down(down=False)
        self.cloud.a.restart()
        # Nova looks for such guests now and then
        waiting.until(lambda: not self.cloud.litter(), timeout=180)
        for each in self.cloud.computes:
            self.assert_nothing_left(each)

    def test_resumed_at_host_boot(self):
        """Nova would start its guests itself, wherever they are."""
        settings = self.cloud.settings
        self.addCleanup(self.cloud.configure, settings)
        extra = {
            **settings.extra,
            'DEFAULT': {
                **settings.extra.get('DEFAULT', {}),
                'resume_guests_state_on_host_boot': True,
            },
        }
        self.cloud.configure(dataclasses.replace(settings, extra=extra))
        guest = self.moving('copying')
        self.cloud.a.kill()
        self.cloud.a.restart()
        guest.wait_for_status('ACTIVE')
        self.assert_at_home(guest)

    def test_evacuated(self):
        """Its guest is where it is to be built."""
        guest = self.moving('copying')
        self.cloud.a.kill()
        self._evacuate(guest)

    def test_evacuated_before_the_switchover(self):
        """Nova takes the bases for disks that both hosts share.

        With a port, Neutron refuses first: it is bound to both hosts already.
        """
        guest = self.boot(networked=False)
        self.kill_in(guest, 'exporting', source=True)
        self._evacuate(guest)

    def _evacuate(self, guest):
        """Its host counts as dead, and comes back: all is as before."""
        before = guest.runs_on()
        self.cloud.a.force_down(down=True)
        self.addCleanup(self.cloud.a.force_down, down=False)
        self._act(guest, {'evacuate': {'host': self.cloud.b.name}})
        guest.wait_for_status('ERROR')
        self.assertEqual(before, guest.runs_on())
        self.cloud.a.force_down(down=False)
        self.cloud.a.restart()
        guest.wait_for_status('ACTIVE')
        self.assert_at_home(guest)

    def _act(self, guest, action):
        self.cloud.api.compute('POST', f'/servers/{guest.uuid}/action', action)

    def _flavor(self):
        """Another flavor than the guest's, which is made for this."""
        api = self.cloud.api
        return api.call(
            lambda to: (
                to.compute.create_flavor(
                    name=self.getUniqueString(), ram=256, vcpus=1, disk=1
                ).id
            )
        )
