# SPDX-License-Identifier: Apache-2.0
"""nova-compute is killed when the disks are done, and Nova's part is not."""

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud import server
from nova_blockcopy.tests.cloud.scenarios import ends


class NovasPartTestCase(ends.EndsTestCase):
    def boot(self, **how):
        """A guest that is switched over without much ado."""
        return super().boot(**{'load': 1, **how})

    def settle(
        self,
        guest: server.Server,
        *frozen: compute.Compute,
        abort: bool = False,
    ) -> None:
        """Migrate a guest from a to b, and stop where Nova's part begins.

        :param frozen: the hosts whose nova-compute is stopped
        """
        guest.live_migrate(self.cloud.b)
        if abort:
            self.wait_for_state(guest, self.cloud.a, ends.LONG)
            guest.abort()
        waiting.until(
            lambda: self.state(guest, self.cloud.a) == 'settled',
            timeout=300,
            interval=0.002,
        )
        for each in frozen:
            self._freeze(each)
        self.assertEqual('settled', self.state(guest, self.cloud.a))

    def wait_for_removal(self) -> None:
        """Wait until Nova has removed the disks of the source."""
        volumes = self.cloud.a.volumes
        self.assertTrue(waiting.until(lambda: not volumes.names(), timeout=60))

    def wait_for_refusal(self, words: str) -> None:
        """Wait until nova-compute on the source has refused something."""
        log = self.cloud.a.service.log
        if not waiting.until(lambda: words in log.read_text(), timeout=120):
            raise AssertionError(f'{log} does not have "{words}"')

    def assert_completed(self, guest: server.Server) -> None:
        guest.wait_for_migration('completed', 'error')
        guest.wait_for_status('ACTIVE')
        self.assert_at_home(guest, self.cloud.b)
        self.assertEqual('completed', guest.migrations()[0].status)


class TestArrived(NovasPartTestCase):
    def test_before_it_begins(self):
        guest = self.boot()
        self.settle(guest, self.cloud.a)
        self.cloud.a.kill()
        self.assertEqual(self.cloud.a, guest.at)
        self.assertEqual([self.cloud.b.name], guest.runs_on())
        self.cloud.a.restart()
        self.assert_completed(guest)

    def test_when_the_source_has_removed_its_disks(self):
        guest = self.boot()
        self.settle(guest, self.cloud.b)
        self.wait_for_removal()
        self.cloud.a.kill()
        self.assertEqual(self.cloud.a, guest.at)
        self._thaw(self.cloud.b)
        self.cloud.a.restart()
        self.assert_completed(guest)

    def test_before_the_destinations_part(self):
        guest = self.boot()
        self.settle(guest, self.cloud.b)
        self.wait_for_removal()
        self.cloud.b.kill()
        self.assertEqual(self.cloud.a, guest.at)
        self.cloud.b.restart()
        self.assert_completed(guest)

    def test_both_and_a_hard_reboot(self):
        """The source alone must not start the guest again."""
        # Nova asks Cinder before a hard reboot
        self.cloud.control.start_volumes()
        guest = self.boot()
        self.settle(guest, *self.cloud.computes)
        for each in self.cloud.computes:
            each.kill()
        self.cloud.a.restart()
        api = self.cloud.api
        path = f'/servers/{guest.uuid}/action'
        api.compute('POST', path, {'os-resetState': {'state': 'active'}})
        self.assertEqual(('ACTIVE', None), (guest.status, guest.task))
        api.compute('POST', path, {'reboot': {'type': 'HARD'}})
        self.wait_for_refusal('cannot hard reboot instance')
        self.assertEqual([self.cloud.b.name], guest.runs_on())
        self.cloud.b.restart()
        waiting.until(lambda: guest.at == self.cloud.b, timeout=60)
        self.assert_completed(guest)


class TestReturned(NovasPartTestCase):
    def assert_returned(self, guest: server.Server) -> None:
        guest.wait_for_migration('cancelled')
        self.assert_at_home(guest)

    def test_before_it_begins(self):
        guest = self.boot()
        self.settle(guest, self.cloud.a, abort=True)
        self.cloud.a.kill()
        self.cloud.a.restart()
        self.assert_returned(guest)
        self.move(guest, self.cloud.b)

    def test_before_the_destinations_part(self):
        """Nova orders it from the destination, and waits for no answer."""
        guest = self.boot()
        self.settle(guest, self.cloud.b, abort=True)
        guest.wait_for_migration('cancelled')
        self.cloud.b.kill()
        self.assertEqual('settled', self.state(guest, self.cloud.b))
        self.assertNotEqual([], self.cloud.b.volumes.names())
        self.cloud.b.restart()
        self.assert_returned(guest)
        self.move(guest, self.cloud.b)
