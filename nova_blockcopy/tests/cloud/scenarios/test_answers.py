# SPDX-License-Identifier: Apache-2.0
"""That both nova-computes do their other work while a guest moves."""

import time
import typing

from nova_blockcopy.tests.cloud import image
from nova_blockcopy.tests.cloud.scenarios import ends

#: Seconds; the machine is small, and busy.
_PROMPT = 10


class TestAnswers(ends.EndsTestCase):
    options: typing.ClassVar = {
        'libvirt': {
            **ends.EndsTestCase.options['libvirt'],
            'block_migration_bandwidth': 64,
        },
        # shorter than the copy takes, so that nothing may depend on them
        'DEFAULT': {'rpc_response_timeout': 10, 'long_rpc_timeout': 20},
    }

    def test_both_hosts_answer_during_the_copy(self):
        guest = self.boot()
        others = [self._other(each) for each in self.cloud.computes]
        guest.live_migrate(self.cloud.b)
        self.wait_for_state(guest, self.cloud.a, ends.LONG)
        begin = time.monotonic()
        times = []
        while self.state(guest, self.cloud.a) == ends.LONG:
            times += [self._ask(other) for other in others]
        guest.wait_for_migration('completed')
        limit = self.options['DEFAULT']['long_rpc_timeout']
        self.assertGreater(time.monotonic() - begin, limit)
        self.assert_intact(guest, self.cloud.b)
        self.assertGreater(len(times), 10)
        self.assertLess(max(times), _PROMPT, times)

    def _other(self, at):
        idle = image.Writes(interval=1)
        other = self.cloud.boot(at, name='other', writes=idle)
        self.addCleanup(other.delete)
        return other

    def _ask(self, other):
        """Seconds that a nova-compute takes to read a console."""
        begin = time.monotonic()
        said = self.cloud.api.compute(
            'POST',
            f'/servers/{other.uuid}/action',
            {'os-getConsoleOutput': {}},
        )
        self.assertTrue(said['output'])
        return time.monotonic() - begin
