# SPDX-License-Identifier: Apache-2.0
"""Migrations between two machines as Debian sets them up."""

import testtools

from nova_blockcopy.tests.hosts import pair

#: What AppArmor denies QEMU without any migration.
_HARMLESS = '/queue/zoned'
_DENIED = 'journalctl -k --no-pager | grep "apparmor=.DENIED" || true'
#: Files of the engine that others may read, write or enter.
_OPEN = (
    'find /var/lib/nova/blockcopy -type f -perm /077; '
    'find /var/lib/nova/blockcopy/journal -type d -perm /077; '
    'find /var/lib/nova/blockcopy -type d -perm /066'
)
#: What migrations leave behind.
_LITTER = (
    'find /var/lib/nova/blockcopy -type f; pgrep -a qemu-nbd; '
    'systemctl list-units --type=scope --no-legend "nova-blockcopy*"; true'
)


class TestMigrate(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.pair = self.useFixture(pair.Pair())
        self.first, self.second = self.pair.machines
        self.pair.start_guest()

    def assert_clean(self):
        for each in self.pair.machines:
            lines = each.run(_DENIED).splitlines()
            denied = [line for line in lines if _HARMLESS not in line]
            self.assertEqual([], denied, each.name)
            self.assertEqual('', each.run(_OPEN), each.name)
            self.assertEqual('', each.run(_LITTER), each.name)

    def moved(self, to, mode, **options):
        log = self.pair.move(to, mode, **options)
        self.assertEqual('ended: done', log[-1])
        self.pair.wait_for_writes(to)
        self.assert_clean()

    def test_there_and_back(self):
        self.moved(self.second, 'seeded')
        self.moved(self.first, 'direct')
        for verdict in self.pair.verdicts(self.first):
            self.assertTrue(verdict.intact, verdict)
