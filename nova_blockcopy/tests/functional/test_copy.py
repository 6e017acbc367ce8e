# SPDX-License-Identifier: Apache-2.0
"""What a copy is asked to be: the same by both drivers, and not too fast."""

import json
import re
import time
from typing import Any

import libvirt

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import states
from nova_blockcopy.tests.functional import base

#: What libvirt and QEMU number as they go, and the name of an export.
_COUNTED = re.compile(
    r'libvirt-\d+|#block\d+|[0-9a-f-]{36}-vd[a-z]-[0-9a-f]{32}|:\d{5}'
)
#: What a job counts as it goes, and what a guest changes as it writes; the
#: size of a qcow2's container is one of these.
_MOVING = {
    *('len', 'offset', 'busy', 'status', 'count'),
    *('actual-size', 'virtual-size'),
}


class TestSameCopy(base.TestCase):
    """QEMU cannot tell which driver asked."""

    def test_both_drivers_send_the_same_copy(self):
        made = self.set_scene(
            *('block', 'layered', 'raw'),
            mode='direct',
            block_migration_bandwidth=100,
            granularity=4096,
            buf_size=8 * base.MIB,
            synchronous_writes=True,
        )
        captured = [
            self._capture(made, driver) for driver in ('libvirt', 'virsh')
        ]
        self.assertEqual(captured[0], captured[1])
        # and what is compared tells one copy from another
        other = self._capture(made, 'virsh', granularity=512)
        self.assertNotEqual(captured[0], other)
        other = self._capture(made, 'virsh', block_migration_bandwidth=50)
        self.assertNotEqual(captured[0], other)

    def _capture(self, made, driver, **options):
        """Ask QEMU and libvirt while all copies mirror, then go home."""
        found: dict[str, Any] = {}

        def capture(now):
            if now.state is states.State.READY and not found:
                found.update(self._look(made))
                moving.abort()

        moving = made.migration(capture, driver=driver, **options)
        self.assertRaises(exception.MigrationUndone, made.run, moving)
        return found

    def _look(self, made):
        nodes = self._monitor(made, 'query-named-block-nodes')
        xml = self.lab.b.run('virsh', 'dumpxml', made.guest.uuid).stdout
        mirrors = domxml.parse(xml).iterfind('devices/disk/mirror')
        return {
            'jobs': _still(self._monitor(made, 'query-block-jobs')),
            'nodes': sorted(
                json.dumps(_still(node), sort_keys=True) for node in nodes
            ),
            'mirrors': [
                re.sub(r' index="\d+"', '', domxml.text(mirror))
                for mirror in mirrors
            ],
        }

    def _monitor(self, made, command):
        printed = self.lab.b.run(
            *('virsh', 'qemu-monitor-command', made.guest.uuid),
            json.dumps({'execute': command}),
        ).stdout
        return json.loads(printed)['return']


def _still(value):
    """Leave out what moves by itself."""
    if isinstance(value, dict):
        return {k: _still(v) for k, v in value.items() if k not in _MOVING}
    if isinstance(value, list):
        return [_still(item) for item in value]
    if isinstance(value, str):
        return _COUNTED.sub('', value)
    return value


class TestBandwidth(base.DriverTestCase):
    """The limit is for all disks together, and can be changed."""

    def test_the_limit_holds_and_can_be_changed(self):
        made = self.set_scene(
            *('block', 'raw'),
            mode='direct',
            size=160 * base.MIB,
            data=128 * base.MIB,
            interval=0.1,
            region=base.MIB,
            block_migration_bandwidth=16,
        )
        times: list[float] = []
        limits: list[float] = []

        def change(now):
            if now.state is not states.State.COPYING:
                if not times:
                    self.before = time.monotonic()
            elif now.processed_bytes > (len(limits) + 1) * 80 * base.MIB:
                times.append(time.monotonic())
                limits.append(self._limit(made))
                moving.set_bandwidth(32)

        moving = made.migration(change)
        made.run(moving)
        times.append(time.monotonic())
        self.assertEqual([16, 32], limits[:2])
        # A busy machine makes a copy slower. Only a limit that does not hold
        # makes it faster.
        self.assertGreater(times[0] - self.before, 80 / 16 * 0.85)
        self.assertGreater(times[-1] - self.before, 2 * 128 / 32 * 0.85)
        self.assert_intact(made, self.lab.b)

    def _limit(self, made):
        """The limits of all copies of a guest together, in MiB/s."""
        connection = self.lab.b.connect()
        try:
            domain = connection.lookupByUUIDString(made.guest.uuid)
            flag = libvirt.VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES
            return sum(
                domain.blockJobInfo(disk, flag)['bandwidth'] / base.MIB
                for disk in made.guest.targets
            )
        finally:
            connection.close()
