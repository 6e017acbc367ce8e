# SPDX-License-Identifier: Apache-2.0
"""Migrations between two machines as Debian sets them up."""

import itertools

import testtools

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.tests.hosts import pair

State = states.State

#: What AppArmor denies QEMU without any migration.
_HARMLESS = '/queue/zoned'
#: libvirt makes the rules anew when the copy of one disk is aborted, without
#: the bases of the other copies. When these copies end, QEMU opens their bases
#: anew, for reading. It ignores a failure, because it no longer needs the base
#: (raw_reconfigure_getfd in QEMU's block/file-posix.c).
_ABORTED = 'requested_mask="r"'
_DENIED = 'journalctl -k --no-pager | grep "apparmor=.DENIED" || true'
#: The rules of libvirt for the guest.
_RULES = 'cat /etc/apparmor.d/libvirt/libvirt-*.files'
_SNAPSHOTS = '/var/lib/nova/instances/guest'
#: Files of the engine that others may read, write or enter.
_OPEN = (
    'find /var/lib/nova/blockcopy -type f -perm /077; '
    'find /var/lib/nova/blockcopy/journal -type d -perm /077; '
    'find /var/lib/nova/blockcopy -type d -perm /066'
)
#: What migrations leave behind. The next attempt uses the notes of an earlier
#: one about data that were received.
_LITTER = (
    'find /var/lib/nova/blockcopy -type f -not -path "*/received/*"; '
    'pgrep -a qemu-nbd; '
    'systemctl list-units --type=scope --no-legend "nova-blockcopy*"; true'
)


_MODES = (model.Mode.SEEDED, model.Mode.DIRECT)
_LIBVIRT = 'libvirtd'
#: The units that start again, in turn, on the host where a state was reached
#: and on the other one.
_RESTARTED = (
    ((pair.UNIT,), ()),
    ((pair.UNIT, _LIBVIRT), ()),
    ((pair.UNIT,), (pair.UNIT,)),
    ((pair.UNIT,), (_LIBVIRT,)),
    ((pair.UNIT, _LIBVIRT), (pair.UNIT, _LIBVIRT)),
)


class TestMigrate(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.pair = self.useFixture(pair.Pair())
        self.first, self.second = self.pair.machines
        self.pair.start_guest()
        self.at = self.first

    def assert_clean(self, *harmless):
        for each in self.pair.machines:
            denied = [
                line
                for line in each.run(_DENIED).splitlines()
                if not any(word in line for word in (_HARMLESS, *harmless))
            ]
            self.assertEqual([], denied, each.name)
            self.assertEqual('', each.run(_OPEN), each.name)
            self.assertEqual('', each.run(_LITTER), each.name)

    def assert_intact(self):
        for verdict in self.pair.verdicts(self.at):
            self.assertTrue(verdict.intact, verdict)

    def arrived(self, at, *harmless):
        self.at = at
        self.pair.wait_for_writes(at)
        self.assert_clean(*harmless)

    def moved(self, mode, **options):
        to = self.pair.other(self.at)
        log = self.pair.move(to, mode, **options)
        self.assertEqual('ended: done', log[-1])
        self.arrived(to)

    def aborted(self, mode, state):
        log = self.pair.move(self.pair.other(self.at), mode, abort=state)
        self.assertThat(
            log[-1], testtools.matchers.StartsWith('ended: MigrationUndone')
        )
        self.arrived(self.at, _ABORTED)

    def restarted(self, mode, state, here, there):
        """Restart units while a migration is in a state.

        :param here: units of the source
        :param there: units of the destination
        """
        source, to = self.at, self.pair.other(self.at)
        self.pair.move(to, mode, hold=state)
        self.settled((source, here), (to, there))

    def settled(self, *restarted):
        """Restart units of the source and of others, and await the end.

        :param restarted: machines, each with the units
        """
        (source, _units), *_others = restarted
        for each, units in restarted:
            if units:
                each.run(f'systemctl restart {" ".join(units)}')
        *_, settled = self.pair.wait_for_log(source, 'settled')
        came = settled == f'settled: {model.Role.DESTINATION}'
        to = self.pair.other(source) if came else source
        self.arrived(to, _ABORTED)

    def test_there_and_back(self):
        self.moved('seeded')
        self.moved('direct')
        self.assert_intact()

    def test_abort_in_each_state(self):
        for mode in _MODES:
            for state in states.way(mode):
                if state in states.REVERSIBLE:
                    self.aborted(mode, state)
        self.assert_intact()

    def test_restart_in_each_state(self):
        turns = itertools.cycle(_RESTARTED)
        for mode in _MODES:
            for state in states.way(mode)[:-1]:
                self.restarted(mode, state, *next(turns))
        self.assert_intact()

    def test_rules_that_are_made_anew(self):
        """A CD that is ejected makes libvirt write all rules of a guest."""
        self.pair.move(self.second, 'seeded', hold=State.SEEDING)
        self.eject(self.first)
        self.settled((self.first, [pair.UNIT]))
        self.assertIs(self.first, self.at)
        self.first.run(
            f'virsh change-media guest {pair.DRIVE} {pair.MEDIUM} --insert'
        )
        self.pair.move(self.second, 'seeded', hold=State.READY)
        self.eject(self.second)
        self.assertEqual('ended: done', self.pair.go(self.first)[-1])
        # the first pivot of a disk with a backing file is denied
        self.arrived(self.second, _ABORTED)
        for target in pair.DISKS:
            self.merge_snapshot(self.second, target)
        self.arrived(self.second, _ABORTED)
        self.assert_intact()

    def eject(self, at):
        before = at.run(_RULES)
        self.assertIn(str(pair.MEDIUM), before)
        at.run(f'virsh change-media guest {pair.DRIVE} --eject --live')
        self.assertNotIn(str(pair.MEDIUM), at.run(_RULES))

    def merge_snapshot(self, at, target):
        """Make a snapshot of a disk, and merge it, as backup tools do.

        libvirt makes all rules anew at the end of a merge. If other disks had
        snapshots then, their layers below could not be written to any more
        (issue 622 of libvirt).
        """
        path = f'{_SNAPSHOTS}/{target}.snapshot'
        specs = ' '.join(
            f'--diskspec {each},snapshot=no'
            for each in (*pair.DISKS, pair.DRIVE)
            if each != target
        )
        at.run(
            f'virsh snapshot-create-as guest --disk-only --no-metadata '
            f'--diskspec {target},file={path} {specs}'
        )
        at.run(
            f'virsh blockcommit guest {target} --active --shallow --pivot '
            f'--wait'
        )
        at.run(f'rm {path}')
