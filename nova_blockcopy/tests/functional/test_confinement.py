# SPDX-License-Identifier: Apache-2.0
"""The rights of all programs of a migration equal the table in the docs."""

import os

import psutil
import testscenarios

from nova_blockcopy.host import confinement
from nova_blockcopy.host import deltas
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import neighbours
from nova_blockcopy.tests.lab import rights
from nova_blockcopy.tests.lab import watch

#: The users of guests' QEMU, which Debian and Ubuntu give this number, too.
QEMU = 64055


class TestMigration(testscenarios.WithScenarios, base.TestCase):  # type: ignore[misc]
    """nova-compute of one host uses a helper, that of the other is root."""

    helper: str
    driver: str
    scenarios = (
        ('source', {'helper': 'a', 'driver': 'virsh'}),
        ('destination', {'helper': 'b', 'driver': 'libvirt'}),
    )

    def test_all_programs(self):
        made = self.set_scene(
            *('block', 'raw', 'layered'),
            driver=self.driver,
            mode='seeded',
            export_tls=True,
            allow_plaintext=False,
            verify='full',
        )
        hosts = (self.lab.a, self.lab.b)
        at = getattr(self.lab, self.helper)
        networks = {os.readlink(f'/proc/{each.pid}/ns/net') for each in hosts}
        known = {*psutil.pids()} - {os.getpid()}
        with neighbours.helper(at):
            at.call(deltas.present, [])
            helper = self._helper(at)
            starters = (os.getpid(), helper)
            with watch.Watch(starters, known, networks) as watching:
                made.run(made.migration())
            self._check_helper(helper)
        waiting.until(lambda: not psutil.pid_exists(helper), timeout=60)
        self.assert_intact(made, self.lab.b)
        self._check(watching.found)

    def _helper(self, at):
        (found,) = (
            each
            for each in at.processes()
            if 'helper_main' in ' '.join(each.cmdline())
        )
        return found.pid

    def _check_helper(self, pid):
        row = rights.documented()['privsep-helper']
        found = rights.of(pid)
        self.assertEqual([], row.differences(found, {'root': [0]}))

    def _check(self, found):
        users = {
            'root': [0],
            'nobody': [confinement.NOBODY],
            'owner': [QEMU],
            'nova-compute': [0],
        }
        rows = rights.documented()
        # it takes its own rights away, one after the other
        programs = [each for each in found if each.program != 'setpriv']
        self.assertEqual(
            [],
            [
                difference
                for each in programs
                for difference in rows[each.program].differences(each, users)
            ],
        )
        seen = {(each.program, each.user) for each in programs}
        self.assertIn(('qemu-nbd', QEMU), seen)
        self.assertIn('qemu-img', {program for program, _user in seen})
